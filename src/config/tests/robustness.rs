//! Whatever the text, a problem is the worst that comes of it.

use proptest::prelude::*;

use super::*;

#[test]
fn deep_nesting_is_refused() {
    let deep = 20_000;
    for text in [
        format!("a = {}", "[".repeat(deep)),
        format!("a = {}{}", "[".repeat(deep), "]".repeat(deep)),
        format!("a = {}", "{a=".repeat(deep)),
        format!("a{} = 1", ".a".repeat(deep)),
        format!("[a{}]", ".a".repeat(deep)),
        format!("a = {}{}", "[".repeat(70), "]".repeat(70)),
    ] {
        assert!(parse(&text).is_err());
    }
}

#[test]
fn noise_gives_a_readable_number_of_problems() {
    let noise = "= ] =\n".repeat(10_000);
    assert!((1..=50).contains(&problems(&noise).len()));
    assert_eq!(problems(&"= ".repeat(30_000)).len(), 1);
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "\\PC*") {
        let _ = parse(&text);
    }

    #[test]
    fn damaged_pipelines_never_panic(at in 0..VALID.len(), length in 0..40_usize, new in "[\\PC\n\\[\\]{}=\"$.#,]{0,12}") {
        let mut text = VALID.to_owned();
        text.replace_range(at..(at + length).min(VALID.len()), &new);
        if let Err(error) = parse(&text) {
            let lines = 1 + text.matches('\n').count();
            prop_assert!(!error.problems().is_empty());
            prop_assert!(error.problems().iter().all(|problem| problem.line.is_none_or(|line| (1..=lines).contains(&line))));
        }
    }

    #[test]
    fn any_value_at_any_key_is_read_or_refused_at_its_key(
        key in prop::sample::select(vec!["frame_size", "max_gap_ms", "max_streams"]),
        value in prop_oneof![any::<i64>().prop_map(|v| v.to_string()), any::<f64>().prop_map(|v| format!("{v:?}")), "\"[a-z0-9]{0,9}\""],
    ) {
        let text = with("frame_size = 512", &format!("{key} = {value}"));
        if let Err(error) = parse(&text) {
            prop_assert_eq!(error.problems()[0].key.clone(), Some(format!("window.{key}")));
            prop_assert_eq!(error.problems()[0].line, Some(7));
        }
    }
}
