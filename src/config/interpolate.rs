//! `${VAR}` in texts.

/// A text after expansion.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Expanded {
    /// The text.
    pub(super) text: String,
    /// True if the text was one `${...}` and nothing else: it may then stand for a number or a truth value.
    pub(super) whole: bool,
}

/// Expands `${VAR}`, `${VAR:-default}` (where unset or empty), `${VAR:?message}` (refused where unset or
/// empty) and `$$` (a dollar sign). What a variable holds is not expanded again.
///
/// # Errors
/// What is wrong with the text or with a variable, by name and without its content.
pub(super) fn expand(text: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<Expanded, String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    let mut whole = false;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            expanded.push('$');
            rest = after;
            continue;
        }
        let Some(body) = after.strip_prefix('{') else {
            return Err("a single '$': write ${NAME} for a variable, $$ for a dollar sign".to_owned());
        };
        let Some((body, after)) = body.split_once('}') else {
            return Err("'${' without its '}'; write $$ for a dollar sign".to_owned());
        };
        expanded.push_str(&look_up(body, environment)?);
        whole = rest.len() == text.len() && before.is_empty() && after.is_empty();
        rest = after;
    }
    expanded.push_str(rest);
    Ok(Expanded { text: expanded, whole })
}

fn look_up(body: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let (name, fallback) = match body.split_once(':') {
        None => (body, None),
        Some((name, fallback)) => (name, Some(fallback)),
    };
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    if !name.starts_with(letter) || !name.chars().all(|c| letter(c) || c.is_ascii_digit()) {
        return Err("what '${' begins is not the name of a variable; write $$ for a dollar sign".to_owned());
    }
    let value = environment(name);
    let value = match fallback {
        None => value.ok_or_else(|| {
            format!("the environment variable {name} is not set; set it, or give a default: ${{{name}:-...}}")
        })?,
        Some(fallback) => {
            let given = value.filter(|value| !value.is_empty());
            if let Some(default) = fallback.strip_prefix('-') {
                given.unwrap_or_else(|| default.to_owned())
            } else if let Some(message) = fallback.strip_prefix('?') {
                given.ok_or_else(|| format!("the environment variable {name} is not set: {message}"))?
            } else {
                return Err(format!("after '{name}:' comes '-default' or '?message'"));
            }
        }
    };
    if value.contains(['\n', '\r']) {
        return Err(format!("the environment variable {name} holds a line break"));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("a.example".to_owned()),
            "EMPTY" => Some(String::new()),
            "DOLLAR" => Some("${HOST}".to_owned()),
            "LINES" => Some("a\nb".to_owned()),
            _ => None,
        }
    }

    fn text_of(text: &str) -> Result<String, String> {
        expand(text, &environment).map(|expanded| expanded.text)
    }

    #[test]
    fn variables_defaults_and_dollars() {
        assert_eq!(text_of("plain").unwrap(), "plain");
        assert_eq!(text_of("x-${HOST}:${HOST}").unwrap(), "x-a.example:a.example");
        assert_eq!(text_of("${NONE:-12}").unwrap(), "12");
        assert_eq!(text_of("${EMPTY:-12}").unwrap(), "12");
        assert_eq!(text_of("${EMPTY}").unwrap(), "");
        assert_eq!(text_of("${HOST:-12}").unwrap(), "a.example");
        assert_eq!(text_of("${NONE:-a:-b}").unwrap(), "a:-b");
        assert_eq!(text_of("$${HOST} $$").unwrap(), "${HOST} $");
        assert_eq!(text_of("${DOLLAR}").unwrap(), "${HOST}");
    }

    #[test]
    fn only_a_lone_variable_is_whole() {
        assert!(expand("${NONE:-12}", &environment).unwrap().whole);
        for text in ["12", "$$", "1${NONE:-2}", "${NONE:-1}2", "${HOST}${HOST}", "$$${HOST}"] {
            assert!(!expand(text, &environment).unwrap().whole, "{text}");
        }
    }

    #[test]
    fn refusals_name_the_variable() {
        assert!(text_of("${NONE}").unwrap_err().contains("NONE is not set"));
        assert!(text_of("${NONE:?give a host}").unwrap_err().ends_with("NONE is not set: give a host"));
        assert!(text_of("${EMPTY:?give a host}").is_err());
        assert!(text_of("${LINES}").unwrap_err().contains("line break"));
        assert!(text_of("${HOST:+x}").unwrap_err().contains("'-default'"));
        assert!(text_of("costs $5").unwrap_err().contains("$$"));
        assert!(text_of("${HOST").unwrap_err().contains("without its '}'"));
        assert!(text_of("${}").unwrap_err().contains("not the name"));
        assert!(text_of("${1A}").unwrap_err().contains("not the name"));
    }
}
