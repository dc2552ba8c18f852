//! Names of topics, and templates of them.

use std::fmt;

const MAX_TOPIC_BYTES: usize = 249;

/// A text that Kafka takes for no topic's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name:?} is not the name of a topic: 1 to 249 letters, digits, '.', '_' or '-' (ASCII), and not '.' or '..'"
)]
pub struct InvalidTopicName {
    /// The text, a long one by its beginning.
    pub name: String,
}

/// Holds `name` to what Kafka takes as the name of a topic.
///
/// # Errors
/// It is not such a name.
pub fn check_topic_name(name: &str) -> Result<(), InvalidTopicName> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let fits = (1..=MAX_TOPIC_BYTES).contains(&name.len()) && name.chars().all(allowed);
    if fits && !matches!(name, "." | "..") {
        return Ok(());
    }
    Err(InvalidTopicName { name: name.chars().take(MAX_TOPIC_BYTES).collect() })
}

/// The name of a topic, with places for the topic and the key that a packet's samples came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicTemplate {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Topic,
    Key,
}

impl TopicTemplate {
    /// Reads a template: text in which `{topic}` and `{key}` stand for what a packet's samples came from.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, after) = rest.split_at(at);
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            let (part, after) = if let Some(after) = after.strip_prefix("{topic}") {
                (Part::Topic, after)
            } else if let Some(after) = after.strip_prefix("{key}") {
                (Part::Key, after)
            } else {
                return Err("braces hold {topic} or {key}; a topic's name has none of its own".to_owned());
            };
            parts.push(part);
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        let template = Self { parts };
        // Whatever stands in the places has at least one character.
        template.expand("t", "k").map_err(|_| InvalidTopicName { name: text.to_owned() }.to_string())?;
        Ok(template)
    }

    /// The name of the topic for samples of the stream `key` that came from `topic`.
    ///
    /// # Errors
    /// The key makes it a name that Kafka does not take.
    pub fn expand(&self, topic: &str, key: &str) -> Result<String, InvalidTopicName> {
        let parts = self.parts.iter().map(|part| match part {
            Part::Text(text) => text.as_str(),
            Part::Topic => topic,
            Part::Key => key,
        });
        let name: String = parts.collect();
        check_topic_name(&name)?;
        Ok(name)
    }

    /// The name, if it is the same for every packet.
    pub fn fixed(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// True if the topic that samples came from is part of the name.
    pub fn names_topic(&self) -> bool {
        self.parts.contains(&Part::Topic)
    }
}

impl fmt::Display for TopicTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| {
            f.write_str(match part {
                Part::Text(text) => text,
                Part::Topic => "{topic}",
                Part::Key => "{key}",
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn templates_expand_to_names() {
        let expand = |text: &str| TopicTemplate::parse(text).unwrap().expand("raw", "pump-7").unwrap();
        assert_eq!(expand("packets"), "packets");
        assert_eq!(expand("{topic}.packets"), "raw.packets");
        assert_eq!(expand("a-{key}-{topic}{topic}"), "a-pump-7-rawraw");
        assert_eq!(TopicTemplate::parse("packets").unwrap().fixed(), Some("packets"));
        assert_eq!(TopicTemplate::parse("{key}").unwrap().fixed(), None);
        assert!(!TopicTemplate::parse("{key}").unwrap().names_topic());
        assert!(TopicTemplate::parse("{key}.{topic}").unwrap().names_topic());
    }

    #[test]
    fn what_kafka_does_not_take_is_refused() {
        for text in ["", ".", "..", "a b", "a/b", "\u{e9}", "a,b", &"x".repeat(250)] {
            assert!(check_topic_name(text).is_err(), "{text}");
            assert!(TopicTemplate::parse(text).is_err(), "{text}");
        }
        for text in ["{", "}", "{}", "{partition}", "{topic", "a{{key}}", "{ key }", "{TOPIC}"] {
            assert!(TopicTemplate::parse(text).unwrap_err().contains("{topic} or {key}"), "{text}");
        }
        let by_key = TopicTemplate::parse("t.{key}").unwrap();
        assert_eq!(by_key.expand("raw", "a/b").unwrap_err().name, "t.a/b");
        assert!(TopicTemplate::parse("{key}").unwrap().expand("raw", "").is_err());
    }

    proptest! {
        #[test]
        fn templates_are_read_as_they_display(text in "([a-z.]|\\{topic\\}|\\{key\\}){1,9}") {
            prop_assume!(!matches!(text.as_str(), "." | ".."));
            let template = TopicTemplate::parse(&text).unwrap();
            prop_assert_eq!(template.to_string(), text);
        }

        #[test]
        fn arbitrary_text_never_panics(text in "[\\PC{}]*", key in "\\PC*") {
            if let Ok(template) = TopicTemplate::parse(&text)
                && let Ok(name) = template.expand("raw", &key)
            {
                prop_assert!(check_topic_name(&name).is_ok());
            }
        }
    }
}
