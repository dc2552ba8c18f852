//! Times in the names of files: a few of the conversions of `strftime`, in UTC.

use std::fmt;

const SECOND_NS: i64 = 1_000_000_000;

/// How a time is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StartFormat {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(char),
    /// Letter of the conversion.
    Field(char),
}

impl StartFormat {
    /// Year to hour.
    pub(super) const HOUR: &str = "%Y-%m-%dT%H";

    /// Reads a format.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        const KNOWN: &str = "a time is written with %Y, %m, %d, %H, %M, %S, %j (day of the year) and %%";
        let mut parts = Vec::new();
        let mut chars = text.chars();
        while let Some(next) = chars.next() {
            parts.push(match next {
                '%' => match chars.next() {
                    Some('%') => Part::Text('%'),
                    Some(field @ ('Y' | 'm' | 'd' | 'H' | 'M' | 'S' | 'j')) => Part::Field(field),
                    Some(other) => return Err(format!("{{start:{text}}}: {KNOWN}, not %{other}")),
                    None => return Err(format!("{{start:{text}}}: {KNOWN}")),
                },
                text => Part::Text(text),
            });
        }
        if !parts.iter().any(|part| matches!(part, Part::Field(_))) {
            return Err(format!("{{start:{text}}}: holds no time; {KNOWN}"));
        }
        Ok(Self { parts })
    }

    /// The time `ns`, nanoseconds since the Unix epoch.
    pub(super) fn of(&self, ns: i64) -> String {
        let time = Civil::of(ns);
        let parts = self.parts.iter().map(|part| match part {
            Part::Text(text) => text.to_string(),
            Part::Field(field) => {
                let (value, width) = time.field(*field);
                format!("{value:0width$}")
            }
        });
        parts.collect()
    }

    /// What is left of `text` behind a time in this format.
    pub(super) fn skip<'a>(&self, text: &'a str) -> Option<&'a str> {
        self.parts.iter().try_fold(text, |text, part| match part {
            Part::Text(own) => text.strip_prefix(*own),
            Part::Field(field) => {
                let (digits, rest) = text.split_at_checked(Civil::of(0).field(*field).1)?;
                digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(rest)
            }
        })
    }
}

impl fmt::Display for StartFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Text('%') => f.write_str("%%"),
            Part::Text(text) => write!(f, "{text}"),
            Part::Field(field) => write!(f, "%{field}"),
        })
    }
}

/// A time of the Gregorian calendar.
struct Civil {
    year: i64,
    month: i64,
    day: i64,
    day_of_year: i64,
    second_of_day: i64,
}

impl Civil {
    /// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
    fn of(ns: i64) -> Self {
        let seconds = ns.div_euclid(SECOND_NS);
        let days = seconds.div_euclid(86_400) + 719_468;
        let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let from_march = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * from_march + 2) / 153;
        let day = from_march - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let day_of_year = if month <= 2 { from_march - 305 } else { from_march + 60 + i64::from(leap) };
        Self { year, month, day, day_of_year, second_of_day: seconds.rem_euclid(86_400) }
    }

    /// The value of a conversion and its digits.
    fn field(&self, field: char) -> (i64, usize) {
        match field {
            'Y' => (self.year, 4),
            'm' => (self.month, 2),
            'd' => (self.day, 2),
            'H' => (self.second_of_day / 3600, 2),
            'M' => (self.second_of_day / 60 % 60, 2),
            'j' => (self.day_of_year, 3),
            _ => (self.second_of_day % 60, 2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        let all = StartFormat::parse("%Y-%m-%dT%H:%M:%S %j%%").unwrap();
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00 001%"),
            (951_782_399, "2000-02-28T23:59:59 059%"),
            (951_782_400, "2000-02-29T00:00:00 060%"),
            (951_868_800, "2000-03-01T00:00:00 061%"),
            (978_307_199, "2000-12-31T23:59:59 366%"),
            (1_677_628_800, "2023-03-01T00:00:00 060%"),
            (1_703_980_801, "2023-12-31T00:00:01 365%"),
            (-1, "1969-12-31T23:59:59 365%"),
        ] {
            assert_eq!(all.of(seconds * SECOND_NS), expected);
            assert_eq!(all.skip(&format!("{expected}!")), Some("!"));
        }
        assert_eq!(all.of(i64::MIN), "1677-09-21T00:12:43 264%");
        assert_eq!(all.of(i64::MAX), "2262-04-11T23:47:16 101%");
        assert_eq!(all.skip("1970-01-0"), None);
        assert_eq!(all.skip("1970-01-é"), None);
    }
}
