//! Whether what comes from the wire can be used at all.

/// So many bytes are judged together.
const WINDOW_BYTES: usize = 2048;

/// Follows how many bytes are part of records that can be used.
#[derive(Debug, Default)]
pub(super) struct Quality {
    good: usize,
    bad: usize,
    /// Of the bad ones that were looked at.
    looked_at: usize,
    text: usize,
    troubled: bool,
}

/// What has become clear.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum News {
    /// Almost nothing can be used.
    Trouble(Trouble),
    /// Most of it can again.
    Recovery,
}

/// Almost nothing can be used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Trouble {
    pub(super) bad: usize,
    pub(super) all: usize,
    /// How much of it looks like text, from 0 to 1.
    pub(super) text: f64,
}

impl Quality {
    /// True between a trouble and its end.
    pub(super) fn is_troubled(&self) -> bool {
        self.troubled
    }

    /// A record can be used.
    pub(super) fn good(&mut self, wire_bytes: usize) -> Option<News> {
        self.good += wire_bytes;
        self.judge()
    }

    /// Bytes cannot; `some` of them are looked at.
    pub(super) fn bad(&mut self, wire_bytes: usize, some: &[u8]) -> Option<News> {
        self.bad += wire_bytes;
        self.looked_at += some.len();
        let is_text = |byte: &&u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
        self.text += some.iter().filter(is_text).count();
        self.judge()
    }

    fn judge(&mut self) -> Option<News> {
        let (bad, all) = (self.bad, self.good + self.bad);
        if all < WINDOW_BYTES {
            return None;
        }
        let text = self.text as f64 / self.looked_at.max(1) as f64;
        let was_troubled = self.troubled;
        *self = Self { troubled: was_troubled, ..Self::default() };
        if !was_troubled && bad * 10 >= all * 9 {
            self.troubled = true;
            return Some(News::Trouble(Trouble { bad, all, text }));
        }
        if was_troubled && bad * 2 < all {
            self.troubled = false;
            return Some(News::Recovery);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_news_once_and_so_is_its_end() {
        let mut quality = Quality::default();
        assert!((0..100).all(|_| quality.good(100).is_none()));
        let news: Vec<_> = (0..1000).filter_map(|_| quality.bad(100, b"12,3\n\xff")).collect();
        let [News::Trouble(trouble)] = news[..] else { panic!("{news:?}") };
        assert!(
            (trouble.text - 5.0 / 6.0).abs() < 0.01 && trouble.bad * 10 >= trouble.all * 9,
            "{trouble:?}"
        );
        assert!(quality.is_troubled());
        let news: Vec<_> = (0..1000).filter_map(|_| quality.good(100)).collect();
        assert_eq!(news, [News::Recovery]);
    }

    #[test]
    fn some_noise_is_no_trouble() {
        let mut quality = Quality::default();
        assert!((0..1000).all(|_| quality.good(20).is_none() && quality.bad(60, b"x").is_none()));
    }
}
