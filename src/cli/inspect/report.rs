//! A survey as text for people.

use std::fmt::Write;

use super::survey::{Stream, Survey};

/// Damaged places that are printed one by one.
const SHOWN_DAMAGE: usize = 10;

/// The survey as tables.
pub(super) fn text(survey: &Survey) -> String {
    let mut out = String::new();
    out += &table(&streams(survey));
    out += "\n";
    out += &table(&bytes(survey));
    out += "\n";
    out += &facts(survey);
    out
}

fn streams(survey: &Survey) -> Vec<Vec<String>> {
    let head =
        ["stream", "channels", "rate Hz", "type", "bits", "packets", "frames", "samples", "seconds", "gaps"];
    let mut head: Vec<String> = head.map(str::to_owned).into();
    let holes = survey.total.missing_frames + survey.total.repeated_frames > 0;
    let timed = survey.streams.iter().any(|stream| stream.first_time_ns.is_some());
    if holes {
        head.extend(["missing".to_owned(), "repeated".to_owned()]);
    }
    if timed {
        head.extend(["from".to_owned(), "to".to_owned()]);
    }
    let row = |stream: &Stream| {
        let mut row = vec![
            stream.key.clone(),
            channel_names(stream),
            stream.sample_rate_hz.to_string(),
            stream.sample_type.to_string(),
            stream.stored_bits.to_string(),
            stream.packets.to_string(),
            stream.frames.to_string(),
            stream.samples.to_string(),
            format!("{:.1}", stream.seconds()),
            stream.gaps.to_string(),
        ];
        if holes {
            row.extend([stream.missing_frames.to_string(), stream.repeated_frames.to_string()]);
        }
        if timed {
            row.extend(
                [stream.first_time_ns, stream.end_time_ns].map(|time| time.map_or("-".to_owned(), utc)),
            );
        }
        row
    };
    let total = &survey.total;
    let mut last = vec!["total".to_owned()];
    last.extend(std::iter::repeat_n(String::new(), 4));
    last.extend([total.packets, total.frames, total.samples].map(|count| count.to_string()));
    last.extend([String::new(), total.gaps.to_string()]);
    if holes {
        last.extend([total.missing_frames.to_string(), total.repeated_frames.to_string()]);
    }
    std::iter::once(head).chain(survey.streams.iter().map(row)).chain([last]).collect()
}

fn channel_names(stream: &Stream) -> String {
    let named = stream.channels.iter().filter(|channel| !channel.name.is_empty());
    let names: Vec<_> = named.map(|channel| channel.name.as_str()).collect();
    if names.is_empty() { stream.channels.len().to_string() } else { names.join(",") }
}

fn bytes(survey: &Survey) -> Vec<Vec<String>> {
    let bytes = &survey.bytes;
    let rows = [
        ("header", bytes.header),
        ("side", bytes.side),
        ("indices", bytes.indices),
        ("checksum", bytes.checksum),
        ("container", bytes.container.total),
        ("  file header", bytes.container.file_header),
        ("  record heads", bytes.container.record_heads),
        ("  streams", bytes.container.streams),
        ("  index", bytes.container.index),
        ("  unknown records", bytes.container.unknown),
        ("damaged", bytes.damaged),
        ("torn", bytes.torn),
        ("total", bytes.total),
    ];
    let always = ["header", "side", "indices", "checksum", "container", "total"];
    let frames = survey.total.frames;
    let row = |(name, count): (&str, u64)| {
        let share = count as f64 / bytes.total.max(1) as f64 * 100.0;
        let per_frame =
            if frames == 0 { "-".to_owned() } else { format!("{:.2}", count as f64 / frames as f64) };
        vec![name.to_owned(), count.to_string(), format!("{share:.1}"), per_frame]
    };
    let head = ["part", "bytes", "%", "bytes/frame"].map(str::to_owned).to_vec();
    let shown = rows.into_iter().filter(|(name, count)| *count > 0 || always.contains(name));
    std::iter::once(head).chain(shown.map(row)).collect()
}

fn facts(survey: &Survey) -> String {
    let mut out = String::new();
    let total = &survey.total;
    if let Some(ratio) = total.ratio {
        let _ =
            writeln!(out, "ratio    {ratio:.2} ({} bytes in, {} bytes out)", total.bytes_in, total.bytes_out);
    }
    let models: Vec<_> = survey.models.iter().map(ToString::to_string).collect();
    if !models.is_empty() {
        let _ = writeln!(out, "models   {}", models.join(", "));
    }
    if !survey.closed {
        out += "not closed: the writer did not finish this file, or still writes it\n";
    }
    for stream in survey.streams.iter().filter(|stream| stream.recovered) {
        let _ = writeln!(
            out,
            "{}: the record that names this stream is lost; key, channel names and units are unknown",
            stream.key
        );
    }
    for damage in survey.damage.iter().take(SHOWN_DAMAGE) {
        let _ = writeln!(out, "damage at byte {}, {} bytes: {}", damage.offset, damage.bytes, damage.reason);
    }
    let more = survey.damaged_places.saturating_sub(SHOWN_DAMAGE as u64);
    if more > 0 {
        let _ = writeln!(out, "and {more} more damaged places");
    }
    if survey.bytes.torn > 0 {
        let _ = writeln!(out, "torn tail: the last record is cut after {} bytes", survey.bytes.torn);
    }
    out
}

/// Rows in columns; the first row is a head, columns of numbers are aligned to the right.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let cell = |row: &Vec<String>, column: usize| row.get(column).cloned().unwrap_or_default();
    let layout: Vec<(usize, bool)> = (0..columns)
        .map(|column| {
            let width = rows.iter().map(|row| cell(row, column).chars().count()).max().unwrap_or(0);
            let body = rows.iter().skip(1).map(|row| cell(row, column));
            let is_number = |text: &str| text.is_empty() || text == "-" || text.parse::<f64>().is_ok();
            (width, column > 0 && body.into_iter().all(|text| is_number(&text)))
        })
        .collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, &(width, right)) in layout.iter().enumerate() {
            let text = cell(row, column);
            let _ = if right { write!(line, "{text:>width$}  ") } else { write!(line, "{text:<width$}  ") };
        }
        out += line.trim_end();
        out += "\n";
    }
    out
}

/// A time as ISO 8601 in UTC, to the millisecond.
fn utc(time_ns: i64) -> String {
    const DAY_MS: i64 = 86_400_000;
    let ms = time_ns.div_euclid(1_000_000);
    let (day, ms) = (ms.div_euclid(DAY_MS), ms.rem_euclid(DAY_MS));
    // Years that start in March put the leap day last; 400 of them have 146,097 days, 0000-03-01 was 719,468
    // days before the epoch.
    let day = day + 719_468;
    let (era, day) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let year = era * 400 + year + i64::from(month >= 10);
    let month = if month < 10 { month + 3 } else { month - 9 };
    let (seconds, ms) = (ms / 1000, ms % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use super::super::survey::tests::file;
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(utc(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(utc(1_700_000_000_123_456_789), "2023-11-14T22:13:20.123Z");
        assert_eq!(utc(951_782_400_000_000_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(utc(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(utc(i64::MIN), "1677-09-21T00:12:43.145Z");
    }

    #[test]
    fn columns_line_up() {
        let rows =
            [["name", "count"], ["a", "1"], ["long", "100"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&rows), "name  count\na         1\nlong    100\n");
    }

    #[test]
    fn a_report_says_what_is_there_and_what_is_not() {
        let bytes = file();
        let whole = text(&Survey::of(&bytes[..]).unwrap());
        for part in ["a/I", "b/I", "2023-11-14T22:13:20.000Z", "missing", "0123456789abcdef", "ratio"] {
            assert!(whole.contains(part), "{part} is not in\n{whole}");
        }
        assert!(!whole.contains("damage") && !whole.contains("not closed"), "{whole}");
        let cut = text(&Survey::of(&bytes[..bytes.len() - 1]).unwrap());
        assert!(cut.contains("torn tail") && cut.contains("not closed"), "{cut}");
    }
}
