//! Times as recordings write them. Those without time zone are taken as UTC.

pub(crate) const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// A date and time of day in the Gregorian calendar.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::source) struct Civil {
    pub(in crate::source) year: i32,
    pub(in crate::source) month: u32,
    pub(in crate::source) day: u32,
    pub(in crate::source) hour: u32,
    pub(in crate::source) minute: u32,
    pub(in crate::source) second: u32,
    pub(in crate::source) nanosecond: u32,
}

impl Civil {
    /// Nanoseconds since the Unix epoch, where there is such a time and it fits.
    pub(in crate::source) fn unix_ns(&self) -> Option<i64> {
        let leap = self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0);
        let month_days = match self.month {
            4 | 6 | 9 | 11 => 30,
            2 if leap => 29,
            2 => 28,
            1..=12 => 31,
            _ => return None,
        };
        let valid = (0..=9999).contains(&self.year)
            && (1..=month_days).contains(&self.day)
            && self.hour < 24
            && self.minute < 60
            && self.second < 60
            && self.nanosecond < 1_000_000_000;
        if !valid {
            return None;
        }
        let seconds = self.days() * 86_400
            + i64::from(self.hour) * 3600
            + i64::from(self.minute) * 60
            + i64::from(self.second);
        seconds.checked_mul(NANOS_PER_SECOND)?.checked_add(self.nanosecond.into())
    }

    /// Days since the Unix epoch. Years are counted from March, so that a leap day is the last of its year:
    /// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
    fn days(&self) -> i64 {
        let (month, day) = (i64::from(self.month), i64::from(self.day));
        let year = i64::from(self.year) - i64::from(month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        era * 146_097 + day_of_era - 719_468
    }
}

/// Nanoseconds of a number of units of `unit_ns` nanoseconds, cut to whole ones; exact for decimal numbers.
pub(crate) fn decimal_ns(text: &str, unit_ns: i64) -> Option<i64> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let decimal = (1..=19).contains(&(whole.len() + fraction.len()))
        && whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit());
    if !decimal {
        let ns = text.parse::<f64>().ok()? * unit_ns as f64;
        // The bound is the first value that does not fit.
        return (ns.abs() < 9_223_372_036_854_775_808.0).then_some(ns as i64);
    }
    let all: i128 = format!("{whole}{fraction}").parse().ok()?;
    let ns = all * i128::from(unit_ns) / 10_i128.pow(fraction.len() as u32);
    i64::try_from(if text.starts_with('-') { -ns } else { ns }).ok()
}

/// Nanoseconds since the Unix epoch of `YYYY-MM-DD[(T| )HH:MM[:SS[.fraction]][Z|(+|-)HH[:]MM]]`.
pub(crate) fn timestamp_ns(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00"));
    let mut date = date.split('-');
    let (year, month, day) = (digits(date.next()?, 4)?, digits(date.next()?, 2)?, digits(date.next()?, 2)?);
    if date.next().is_some() {
        return None;
    }
    let (time, zone_minutes) = split_zone(time.trim())?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut time = time.split(':');
    let (hour, minute) = (digits(time.next()?, 2)?, digits(time.next()?, 2)?);
    let second = time.next().map_or(Some(0), |second| digits(second, 2))?;
    if time.next().is_some() || !(1..=9).contains(&fraction.len()) {
        return None;
    }
    let nanosecond = digits(fraction, fraction.len())? * 10_u32.pow(9 - fraction.len() as u32);
    let civil = Civil { year: year.try_into().ok()?, month, day, hour, minute, second, nanosecond };
    civil.unix_ns()?.checked_sub(zone_minutes * 60 * NANOS_PER_SECOND)
}

/// The date and time of day of nanoseconds since the Unix epoch.
pub(in crate::source) fn civil(ns: i64) -> Civil {
    let (seconds, nanosecond) = (ns.div_euclid(NANOS_PER_SECOND), ns.rem_euclid(NANOS_PER_SECOND) as u32);
    let (days, second_of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400) as u32);
    // The inverse of `Civil::days`: Hinnant's `civil_from_days`.
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 } as u32;
    // Nanoseconds of 64 bits end in 2262.
    let year = (year_of_era + era * 400 + i64::from(month <= 2)) as i32;
    let (hour, minute, second) = (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
    Civil { year, month, day, hour, minute, second, nanosecond }
}

/// The time of day and date of nanoseconds since the Unix epoch, as [`timestamp_ns`] reads them.
pub(crate) fn rfc3339(ns: i64) -> String {
    let Civil { year, month, day, hour, minute, second, nanosecond } = civil(ns);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanosecond:09}Z")
}

/// Splits the time zone off a time of day, in minutes east of UTC.
fn split_zone(text: &str) -> Option<(&str, i64)> {
    if let Some(time) = text.strip_suffix(['Z', 'z']) {
        return Some((time, 0));
    }
    let Some(place) = text.find(['+', '-']) else { return Some((text, 0)) };
    let (time, zone) = text.split_at(place);
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let zone: String = zone.chars().skip(1).filter(|c| *c != ':').collect();
    let zone = digits(&zone, 4)?;
    Some((time.trim_end(), sign * i64::from(zone / 100 * 60 + zone % 100)))
}

/// A number of exactly `count` digits.
fn digits(text: &str, count: usize) -> Option<u32> {
    (text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_become_seconds_since_the_epoch() {
        let date = |year, month, day| Civil { year, month, day, ..Civil::default() }.unix_ns();
        assert_eq!(date(1970, 1, 1), Some(0));
        assert_eq!(date(1969, 12, 31), Some(-86_400 * NANOS_PER_SECOND));
        assert_eq!(date(2000, 3, 1), Some(951_868_800 * NANOS_PER_SECOND));
        assert_eq!(date(2024, 2, 29), Some(1_709_164_800 * NANOS_PER_SECOND));
        assert_eq!(date(2023, 2, 29), None);
        assert_eq!(date(1900, 2, 29), None);
        assert_eq!(date(2023, 13, 1), None);
        assert_eq!(date(2023, 0, 1), None);
        assert_eq!(date(9999, 1, 1), None, "does not fit");
    }
    #[test]
    fn numbers_become_nanoseconds_exactly() {
        assert_eq!(decimal_ns("1700000000.123456789", NANOS_PER_SECOND), Some(1_700_000_000_123_456_789));
        assert_eq!(decimal_ns("1700000000123456789", 1), Some(1_700_000_000_123_456_789));
        assert_eq!(decimal_ns("-0.5", 1_000_000), Some(-500_000));
        assert_eq!(decimal_ns("2.5e-3", NANOS_PER_SECOND), Some(2_500_000));
        assert_eq!(decimal_ns("0.00277777777777777777777777", NANOS_PER_SECOND), Some(2_777_777));
        for nonsense in ["", "-", ".", "1.2.3", "1e300", "NaN", "inf", "9999999999999", "--1", "12:00"] {
            assert_eq!(decimal_ns(nonsense, NANOS_PER_SECOND), None, "{nonsense}");
        }
    }

    #[test]
    fn time_stamps_become_nanoseconds() {
        let noon = Some(1_709_208_000 * NANOS_PER_SECOND);
        for text in [
            "2024-02-29 12:00:00",
            "2024-02-29T12:00",
            "2024-02-29T12:00:00.000Z",
            "2024-02-29T13:30:00+01:30",
            "2024-02-29 07:00:00 -0500",
        ] {
            assert_eq!(timestamp_ns(text), noon, "{text}");
        }
        assert_eq!(timestamp_ns("1970-01-01 00:00:00.25"), Some(250_000_000));
        assert_eq!(timestamp_ns("1970-01-02"), Some(86_400 * NANOS_PER_SECOND));
        for nonsense in
            ["", "2024", "2024-02-30", "2024-02-29T", "29-02-2024 12:00", "2024-02-29 12:00:00+1", "é-é-é"]
        {
            assert_eq!(timestamp_ns(nonsense), None, "{nonsense}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_time_comes_back(ns in -(1_i64 << 62)..1_i64 << 62) {
            proptest::prop_assert_eq!(timestamp_ns(&rfc3339(ns)), Some(ns));
        }

        #[test]
        fn any_text_is_a_time_or_none(text in "[-+0-9.:TZe ]{0,30}", unit in 1_i64..2_000_000_000) {
            let _ = (decimal_ns(&text, unit), timestamp_ns(&text));
        }
    }
}
