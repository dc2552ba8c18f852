//! A recording in segments: written, decoded in parts, joined and verified with the built binary.

#![allow(clippy::unwrap_used)]

use integration_tests::{Workplace, pipeline, read_csv};

const SOURCE: &str = "path = \"pipelines/data/mitdb_100_60s.hea\"";
const SAMPLES: usize = 21_600;

/// A pipeline that writes segments named so.
fn segmented(path: &str, roll: &str) -> String {
    let text = pipeline(SOURCE).replace("[encoder]", "[encoder]\nframes_per_packet = 4");
    text.replace("path = \"out.rvl\"", &format!("path = \"{path}\"\n{roll}"))
}

/// A folder `out` of segments, and the same recording in `out.rvl`.
fn scene(path: &str, roll: &str) -> Workplace {
    let workplace = Workplace::new();
    workplace.write("one.toml", segmented("out.rvl", ""));
    workplace.rivulet(&["run", "one.toml"]).ok();
    workplace.write("segments.toml", segmented(path, roll));
    let summary = workplace.rivulet(&["run", "segments.toml", "--json"]).ok().json();
    let files = workplace.files();
    let sizes = files
        .iter()
        .filter(|name| name.starts_with("out/"))
        .map(|name| workplace.path(name).metadata().unwrap().len());
    assert_eq!(summary["bytes_out"], sizes.sum::<u64>());
    workplace
}

#[test]
fn segments_decode_to_what_one_file_does() {
    for (path, roll, count) in [
        ("out/{pipeline}-{number:03}.rvl", "roll_packets = 5", 5),
        ("out/{number}.rvl", "roll_bytes = 1500", 0),
        ("out/{key}/{number}.rvl", "roll_packets = 3", 8),
        ("out/{key}.rvl", "", 2),
    ] {
        let workplace = scene(path, roll);
        let segments = workplace.files().into_iter().filter(|name| name.starts_with("out/")).count();
        assert!(count == 0 && segments > 3 || segments == count, "{path}: {:?}", workplace.files());
        workplace.rivulet(&["decode", "out.rvl", "-o", "one.csv"]).ok();
        workplace.rivulet(&["decode", "out", "-o", "all.csv"]).ok();
        let one = std::fs::read(workplace.path("one.csv")).unwrap();
        assert!(one == std::fs::read(workplace.path("all.csv")).unwrap(), "{path}");

        workplace.rivulet(&["verify", "out", "--model", "models"]).ok();
        workplace.rivulet(&["cat", "out", "-o", "joined.rvl"]).ok();
        workplace.rivulet(&["verify", "joined.rvl"]).ok();
        workplace.rivulet(&["decode", "joined.rvl", "-o", "joined.csv"]).ok();
        assert!(one == std::fs::read(workplace.path("joined.csv")).unwrap(), "{path}");
        // All at once and twice: repeats are left out.
        let again = workplace.rivulet(&["cat", "joined.rvl", "out.rvl", "out", "-o", "again.rvl"]).ok();
        assert!(again.stdout.contains("repeated packets left out"), "{again:?}");
        let inspected = |name| workplace.rivulet(&["inspect", name, "--json"]).ok().json()["total"].clone();
        assert_eq!(inspected("again.rvl"), inspected("joined.rvl"));
    }
}

#[test]
fn a_part_is_cut_to_the_sample() {
    let workplace = scene("out/{number:02}.rvl", "roll_packets = 5");
    workplace.rivulet(&["decode", "out.rvl", "-o", "one.csv"]).ok();
    let whole = read_csv(&workplace.path("one.csv")).1;
    for (from, to, rows) in [
        ("00:00:10", "00:00:12", 3600..4320),
        ("0:20.5", "59:00", 7380..SAMPLES),
        ("00:00:00", "00:00:00.004", 0..2),
    ] {
        for input in ["out", "out.rvl"] {
            workplace.rivulet(&["decode", input, "-o", "part.csv", "--from", from, "--to", to]).ok();
            let part = read_csv(&workplace.path("part.csv")).1;
            for (part, whole) in part.iter().zip(&whole) {
                assert!(*part == whole[rows.clone()], "{input} {from} {to}: {} rows", part.len());
            }
        }
    }
    // Packets are whole: 2048 samples each.
    workplace.rivulet(&["cat", "out", "-o", "part.rvl", "--from", "00:10", "--to", "00:12"]).ok();
    let inspected = workplace.rivulet(&["inspect", "part.rvl", "--json"]).ok().json();
    assert_eq!(inspected["streams"][0]["samples"], 2 * 2048);
    workplace.rivulet(&["decode", "part.rvl", "-o", "part.csv", "--from", "00:10", "--to", "00:12"]).ok();
    assert!(read_csv(&workplace.path("part.csv")).1[0] == whole[0][3600..4320]);

    workplace
        .rivulet(&["decode", "out", "-o", "x.csv", "--from", "2024-01-01T00:00:00Z"])
        .fails(64, "has no times: give --from and --to as HH:MM:SS");
    workplace
        .rivulet(&["decode", "out", "-o", "x.csv", "--from", "noon"])
        .fails(64, "expected a time such as");
}

#[test]
fn no_input_is_written_over() {
    let workplace = Workplace::new();
    workplace.write("one.toml", segmented("out.rvl", ""));
    workplace.rivulet(&["run", "one.toml"]).ok();
    let whole = std::fs::read(workplace.path("out.rvl")).unwrap();
    std::fs::write(workplace.path("left.rvl.partial"), &whole).unwrap();
    std::fs::write(workplace.path("left.dat"), &whole).unwrap();
    for (arguments, input) in [
        (&["cat", "out.rvl", "-o", "out.rvl"][..], "out.rvl"),
        (&["cat", "left.rvl.partial", "-o", "left.rvl"], "left.rvl.partial"),
        (&["decode", "out.rvl", "-o", "./out.rvl", "--format", "csv"], "out.rvl"),
        (&["decode", "left.dat", "-o", "left.hea"], "left.dat"),
    ] {
        workplace.rivulet(arguments).fails(64, "would be written over, which is read");
        assert!(std::fs::read(workplace.path(input)).unwrap() == whole, "{arguments:?}");
    }
    // Nor is what another process writes.
    let held = std::fs::File::create(workplace.path("held.rvl.partial")).unwrap();
    held.lock().unwrap();
    workplace.rivulet(&["cat", "out.rvl", "-o", "held.rvl"]).fails(69, "another process writes it");
    assert!(workplace.path("held.rvl.partial").exists());
    // What still grows is left out of a folder, and told.
    std::fs::create_dir(workplace.path("folder")).unwrap();
    std::fs::rename(workplace.path("out.rvl"), workplace.path("folder/out.rvl")).unwrap();
    std::fs::rename(workplace.path("left.rvl.partial"), workplace.path("folder/left.rvl.partial")).unwrap();
    let verified = workplace.rivulet(&["verify", "folder"]).ok();
    assert!(verified.stderr.contains("1 *.rvl.partial left out"), "{verified:?}");
}

/// Two runs that each count from 0, in one file.
#[test]
fn a_part_over_two_counts_is_whole() {
    let workplace = Workplace::new();
    for (name, start) in [("a", 0), ("b", 100)] {
        let row = |i: i32| format!("{}.{:02},{}\n", 1_700_000_000 + start + i / 100, i % 100, (i * 37) % 400);
        let rows: String = (0..5000).map(row).collect();
        std::fs::create_dir(workplace.path(name)).unwrap();
        workplace.write(&format!("{name}/bed.csv"), format!("time,lead\n{rows}"));
        let source = format!("path = \"{name}/bed.csv\"\ntime_column = \"time\"\nsample_rate_hz = 100");
        let text = pipeline(&source).replace("path = \"out.rvl\"", &format!("path = \"{name}.rvl\""));
        workplace.write("p.toml", text.replace("[encoder]", "[encoder]\nframes_per_packet = 1"));
        workplace.rivulet(&["run", "p.toml"]).ok();
    }
    workplace.rivulet(&["cat", "a.rvl", "b.rvl", "-o", "both.rvl"]).ok();
    let rows = |inputs: &[&str], range: &[&str]| {
        let arguments = [&["decode"], inputs, &["-o", "x.csv"], range].concat();
        let told = workplace.rivulet(&arguments).ok();
        assert!(!told.stderr.contains("repeated"), "{told:?}");
        read_csv(&workplace.path("x.csv")).1[0].clone()
    };
    assert_eq!(rows(&["both.rvl"], &[]).len(), 10_000);
    let part = ["--from", "00:00:40", "--to", "00:02:00"];
    assert_eq!(rows(&["both.rvl"], &part).len(), 3000);
    assert!(rows(&["both.rvl"], &part) == rows(&["a.rvl", "b.rvl"], &part));
    workplace.rivulet(&[&["cat", "both.rvl", "-o", "part.rvl"][..], &part].concat()).ok();
    assert!(rows(&["part.rvl"], &[]).len() >= 3000);
    // The second run is where it was in time.
    workplace.rivulet(&["decode", "both.rvl", "-o", "both.edf"]).ok();
    let edf = std::fs::read(workplace.path("both.edf")).unwrap();
    assert_eq!(&edf[192..197], b"EDF+D");
    assert!(edf.windows(5).any(|mark| mark == b"+100\x14"));
}

#[test]
fn times_name_segments_and_choose_parts() {
    let workplace = Workplace::new();
    let mut rows = String::from("time,lead\n");
    for i in 0..36_000 {
        rows += &format!("{},{}\n", 1_709_207_900.0 + f64::from(i) / 100.0, (i * 37) % 400);
    }
    workplace.write("in.csv", rows);
    let source = "path = \"in.csv\"\ntime_column = \"time\"\nsample_rate_hz = 100";
    let text = pipeline(source).replace("path = \"out.rvl\"", "path = \"out/{start:%Y%m%dT%H%M}.rvl\"");
    workplace.write("timed.toml", text.replace("[encoder]", "[encoder]\nframes_per_packet = 1"));
    workplace.rivulet(&["run", "timed.toml"]).ok();
    let names: Vec<String> = workplace.files().into_iter().filter(|name| name.starts_with("out/")).collect();
    assert_eq!(names.first().map(String::as_str), Some("out/20240229T1158.rvl"), "{names:?}");
    assert_eq!(names.len(), 7, "{names:?}");
    workplace.rivulet(&["decode", "out", "-o", "all.csv"]).ok();
    let whole = read_csv(&workplace.path("all.csv")).1;
    let arguments =
        ["decode", "out", "-o", "part.csv", "--from", "2024-02-29T12:00:00Z", "--to", "1709208001.5"];
    workplace.rivulet(&arguments).ok();
    assert!(read_csv(&workplace.path("part.csv")).1[0] == whole[0][10_000..10_150]);
    workplace.rivulet(&["verify", "out"]).ok();
}

#[test]
fn damage_is_told_with_its_place() {
    let workplace = scene("out/{number:02}.rvl", "roll_packets = 5");
    let path = workplace.path("out/01.rvl");
    let good = std::fs::read(&path).unwrap();
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 4;
    std::fs::write(&path, &bad).unwrap();
    let outcome = workplace.rivulet(&["verify", "out"]).fails(65, "troubles");
    assert!(
        outcome.stdout.contains("out/01.rvl: byte ") && outcome.stdout.contains("damaged"),
        "{outcome:?}"
    );
    assert!(outcome.stdout.contains("frames are missing before frame"), "{outcome:?}");
    let found = workplace.rivulet(&["verify", "out", "--json"]).json();
    assert_eq!(found["files"], 5);
    assert!(
        found["missing_frames"].as_u64().unwrap() > 0 && found["troubles"][0]["offset"].is_u64(),
        "{found}"
    );
    workplace.rivulet(&["cat", "out", "-o", "joined.rvl"]).fails(65, "1 damaged places");
    workplace.rivulet(&["verify", "joined.rvl"]).fails(65, "troubles");

    std::fs::remove_file(&path).unwrap();
    let outcome = workplace.rivulet(&["verify", "out"]).fails(65, "troubles");
    assert!(outcome.stdout.contains("are missing before frame"), "{outcome:?}");
    std::fs::write(&path, &good[..good.len() - 3]).unwrap();
    let outcome = workplace.rivulet(&["verify", "out"]).fails(65, "1 troubles");
    assert!(outcome.stdout.contains("out/01.rvl: the last record is cut after"), "{outcome:?}");
    std::fs::write(&path, "no packets at all").unwrap();
    let outcome = workplace.rivulet(&["verify", "out"]).fails(65, "troubles");
    assert!(outcome.stdout.contains("out/01.rvl: this is not an .rvl file"), "{outcome:?}");
    workplace.rivulet(&["verify", "absent.rvl"]).fails(66, "absent.rvl");
    let inspected = workplace.rivulet(&["inspect", "out", "--json"]).fails(65, "1 of 5 files are damaged");
    assert_eq!(inspected.json().as_array().unwrap().len(), 5);
}

#[test]
fn a_run_again_overwrites_no_segment() {
    let workplace = scene("out/{key}.rvl", "");
    workplace.rivulet(&["run", "segments.toml"]).ok();
    let mut names: Vec<_> = workplace.files().into_iter().filter(|name| name.starts_with("out/")).collect();
    names.sort();
    let key = "out/mitdb_100_60s%2F";
    assert_eq!(
        names,
        [
            format!("{key}MLII-1.rvl"),
            format!("{key}MLII.rvl"),
            format!("{key}V5-1.rvl"),
            format!("{key}V5.rvl")
        ]
    );
    workplace.write("rolls.toml", segmented("out.rvl", "roll_secs = 60"));
    workplace.rivulet(&["run", "rolls.toml"]).fails(78, "gives every segment the same name");
}
