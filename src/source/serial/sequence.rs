//! Records that count themselves: which of them are missing.

/// Follows the numbers of records, which begin again at 0 behind the highest that their bits hold.
#[derive(Clone, Debug)]
pub(super) struct Sequence {
    /// The number's highest value.
    highest: u64,
    next: Option<u64>,
}

/// What a record's number says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Followed {
    /// It follows on the one before, or is the first.
    InOrder,
    /// So many records are missing before it.
    After(u64),
    /// The numbers have gone back: the device has started again. How many are missing cannot be known.
    Restarted,
}

impl Sequence {
    pub(super) fn new(bits: u32) -> Self {
        Self { highest: u64::MAX.checked_shr(64_u32.saturating_sub(bits)).unwrap_or(0), next: None }
    }

    /// Whatever comes next is the first.
    pub(super) fn restart(&mut self) {
        self.next = None;
    }

    /// So many numbers were seen elsewhere.
    pub(super) fn skip(&mut self, records: u64) {
        self.next = self.next.map(|next| next.wrapping_add(records) & self.highest);
    }

    pub(super) fn follow(&mut self, number: u64) -> Followed {
        let expected = self.next.replace(number.wrapping_add(1) & self.highest);
        let missing = match expected {
            None => return Followed::InOrder,
            Some(expected) => number.wrapping_sub(expected) & self.highest,
        };
        match missing {
            0 => Followed::InOrder,
            // The number does not tell which way it went: the shorter way.
            missing if missing <= self.highest / 2 => Followed::After(missing),
            _ => Followed::Restarted,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn follow(bits: u32, numbers: &[u64]) -> Vec<Followed> {
        let mut sequence = Sequence::new(bits);
        numbers.iter().map(|number| sequence.follow(*number)).collect()
    }

    #[test]
    fn holes_are_counted_over_the_end_of_the_numbers() {
        use Followed::{After, InOrder, Restarted};
        assert_eq!(
            follow(8, &[250, 251, 254, 255, 0, 3]),
            [InOrder, InOrder, After(2), InOrder, InOrder, After(2)]
        );
        assert_eq!(follow(16, &[500, 0, 1, 1]), [InOrder, Restarted, InOrder, Restarted]);
        assert_eq!(follow(64, &[u64::MAX, 0, 2]), [InOrder, InOrder, After(1)]);
    }

    proptest! {
        #[test]
        fn what_is_lost_is_what_is_missing(
            bits in prop::sample::select(vec![8_u32, 16, 24, 32, 64]),
            first in any::<u64>(),
            losses in prop::collection::vec(0_u64..100, 1..50),
        ) {
            let highest = u64::MAX >> (64 - bits);
            let mut number = first & highest;
            let mut sequence = Sequence::new(bits);
            prop_assert_eq!(sequence.follow(number), Followed::InOrder);
            for lost in losses {
                number = number.wrapping_add(lost + 1) & highest;
                let expected = if lost == 0 { Followed::InOrder } else { Followed::After(lost) };
                prop_assert_eq!(sequence.follow(number), expected);
            }
        }
    }
}
