//! Dates and times of day without time zone, taken as UTC.

pub(super) const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// A date and time of day in the Gregorian calendar.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Civil {
    pub(super) year: i32,
    pub(super) month: u32,
    pub(super) day: u32,
    pub(super) hour: u32,
    pub(super) minute: u32,
    pub(super) second: u32,
    pub(super) nanosecond: u32,
}

impl Civil {
    /// Nanoseconds since the Unix epoch, where there is such a time and it fits.
    pub(super) fn unix_ns(&self) -> Option<i64> {
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
}
