//! Paths of files with places for what tells them apart.

use std::fmt;
use std::path::{Path, PathBuf};

use super::names::safe_name;
use super::start::StartFormat;

/// A path in which `{pipeline}`, `{key}`, `{start:%Y-%m-%dT%H}` and `{number:06}` stand for what tells one file from
/// another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate {
    pub(super) pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    Pipeline,
    /// The key of the streams, safe for file systems.
    Key,
    /// The time of the first frame.
    Start(StartFormat),
    /// Digits, at least so many.
    Number(usize),
    /// Where `-1` goes if there is a file of that name.
    Copy,
}

/// What stands in the places of one file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segmentation<'a> {
    /// Safe for file systems.
    pub(super) key: &'a str,
    /// Nanoseconds since the Unix epoch.
    pub(super) start_ns: i64,
    pub(super) number: u64,
    /// 0 for the first file of that name.
    pub(super) copy: u64,
}

/// What the name of a file says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) key: String,
    pub(super) number: Option<u64>,
}

impl PathTemplate {
    /// Reads a template; `{{` and `}}` are braces.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, after) = rest.split_at(at);
            literal += before;
            if let Some(after) = after.strip_prefix("{{").or_else(|| after.strip_prefix("}}")) {
                literal.extend(rest.get(at..=at));
                rest = after;
                continue;
            }
            let place = after.strip_prefix('{').and_then(|after| after.split_once('}'));
            let (place, after) = place.ok_or(
                "has a brace without its other half; a brace that is part of the name is doubled: {{",
            )?;
            if !literal.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut literal)));
            }
            pieces.push(Piece::parse(place)?);
            rest = after;
        }
        literal += rest;
        // What comes before the extension of the last component.
        let extension =
            literal.rfind('.').filter(|dot| !literal.get(*dot..).is_some_and(|end| end.contains('/')));
        let (stem, extension) = literal.split_at(extension.unwrap_or(literal.len()));
        if !stem.is_empty() {
            pieces.push(Piece::Text(stem.to_owned()));
        }
        pieces.push(Piece::Copy);
        if !extension.is_empty() {
            pieces.push(Piece::Text(extension.to_owned()));
        }
        Ok(Self { pieces })
    }

    /// The path of a file whose name has no places.
    pub fn of_path(path: &Path) -> Self {
        Self { pieces: vec![Piece::Text(path.to_string_lossy().into_owned())] }
    }

    /// The template with the pipeline's name in its place.
    pub fn of_pipeline(&self, pipeline: &str) -> Self {
        let pieces = self.pieces.iter().map(|piece| match piece {
            Piece::Pipeline => Piece::Text(safe_name(pipeline)),
            other => other.clone(),
        });
        Self { pieces: pieces.collect() }
    }

    /// The path, if it is the same for every segment of a pipeline; the pipeline's name has to be in its place.
    pub fn fixed(&self) -> Option<PathBuf> {
        let mut path = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => path += text,
                Piece::Copy => {}
                _ => return None,
            }
        }
        Some(path.into())
    }

    /// True if segments of the same streams have different names.
    pub fn tells_segments_apart(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Start(_) | Piece::Number(_)))
    }

    /// True if it is no more than the path of one file for each pipeline.
    pub fn is_one_file(&self) -> bool {
        !self.has_key() && !self.tells_segments_apart()
    }

    pub(super) fn has_key(&self) -> bool {
        self.pieces.contains(&Piece::Key)
    }

    pub(super) fn has_number(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Number(_)))
    }

    /// What the name says of the time `start_ns`; segments of different times have different ones.
    pub(super) fn start(&self, start_ns: i64) -> String {
        let formats = self.pieces.iter().filter_map(|piece| match piece {
            Piece::Start(format) => Some(format.of(start_ns)),
            _ => None,
        });
        formats.collect::<Vec<_>>().join("/")
    }

    /// The path of a segment.
    pub(super) fn path(&self, of: &Segmentation<'_>) -> PathBuf {
        let pieces = self.pieces.iter().map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Pipeline => "pipeline".to_owned(),
            Piece::Key => of.key.to_owned(),
            Piece::Start(format) => format.of(of.start_ns),
            Piece::Number(width) => format!("{:0width$}", of.number),
            Piece::Copy if of.copy == 0 => String::new(),
            Piece::Copy => format!("-{}", of.copy),
        });
        pieces.collect::<String>().into()
    }

    /// What a path says, if the template can have made it.
    pub(super) fn read(&self, path: &str) -> Option<Named> {
        let mut named = Named::default();
        read(&self.pieces, path, &mut named).then_some(named)
    }

    /// The folder that all its paths are in, as text that ends with `/` or is empty, and how many folders lie between.
    pub(super) fn root(&self) -> (String, usize) {
        let leading = match self.pieces.first() {
            Some(Piece::Text(text)) => text.as_str(),
            _ => "",
        };
        let root = leading.rfind('/').and_then(|end| leading.get(..=end)).unwrap_or_default();
        let slashes = |piece: &Piece| match piece {
            Piece::Text(text) => text.matches('/').count(),
            Piece::Start(format) => format.of(0).matches('/').count(),
            _ => 0,
        };
        let all: usize = self.pieces.iter().map(slashes).sum();
        (root.to_owned(), all - root.matches('/').count())
    }
}

pub(super) fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.%~".contains(&byte)
}

/// Reads what is left of a path with what is left of a template, the longest way first.
fn read(pieces: &[Piece], path: &str, named: &mut Named) -> bool {
    let Some((piece, pieces)) = pieces.split_first() else { return path.is_empty() };
    let run = |takes: fn(u8) -> bool| path.bytes().take_while(|byte| takes(*byte)).count();
    let mut longest = |run: usize, least: usize, keep: &dyn Fn(&str, &mut Named)| {
        (least..=run).rev().any(|length| {
            let Some((own, rest)) = path.split_at_checked(length) else { return false };
            let mut found = named.clone();
            keep(own, &mut found);
            let fits = read(pieces, rest, &mut found);
            if fits {
                *named = found;
            }
            fits
        })
    };
    match piece {
        Piece::Text(text) => path.strip_prefix(text.as_str()).is_some_and(|rest| read(pieces, rest, named)),
        Piece::Pipeline => longest(run(is_of_name), 1, &|_, _| {}),
        Piece::Key => longest(run(is_of_name), 1, &|key, named| named.key = key.to_owned()),
        Piece::Number(width) => longest(run(|byte| byte.is_ascii_digit()), *width, &|number, named| {
            named.number = number.parse().ok();
        }),
        Piece::Start(format) => format.skip(path).is_some_and(|rest| read(pieces, rest, named)),
        Piece::Copy => {
            let digits = path.bytes().skip(1).take_while(u8::is_ascii_digit).count();
            let copy = (path.starts_with('-') && digits > 0).then(|| path.get(1 + digits..)).flatten();
            copy.is_some_and(|rest| read(pieces, rest, named)) || read(pieces, path, named)
        }
    }
}

impl Piece {
    fn parse(place: &str) -> Result<Self, String> {
        let (name, format) = match place.split_once(':') {
            Some((name, format)) => (name, Some(format)),
            None => (place, None),
        };
        match (name, format) {
            ("pipeline", None) => Ok(Self::Pipeline),
            ("key", None) => Ok(Self::Key),
            ("start", format) => StartFormat::parse(format.unwrap_or(StartFormat::HOUR)).map(Self::Start),
            ("number", None) => Ok(Self::Number(1)),
            ("number", Some(width)) => {
                let digits = width.strip_prefix('0').unwrap_or(width);
                let width = digits.parse().ok().filter(|width| (1..=20).contains(width));
                width.map(Self::Number).ok_or_else(|| {
                    format!("{{{place}}}: how many digits a number has at least, up to 20, is written {{number:06}}")
                })
            }
            _ => Err(format!(
                "braces hold pipeline, key, start:%Y-%m-%dT%H or number:06, found {{{place}}}; a brace that is part \
                 of the name is doubled: {{{{"
            )),
        }
    }
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pieces.iter().try_for_each(|piece| match piece {
            Piece::Text(text) => f.write_str(&text.replace('{', "{{").replace('}', "}}")),
            Piece::Pipeline => f.write_str("{pipeline}"),
            Piece::Key => f.write_str("{key}"),
            Piece::Start(format) => write!(f, "{{start:{format}}}"),
            Piece::Number(1) => f.write_str("{number}"),
            Piece::Number(width) => write!(f, "{{number:0{width}}}"),
            Piece::Copy => Ok(()),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOON_NS: i64 = 1_709_208_000_000_000_000;

    fn template(text: &str) -> PathTemplate {
        PathTemplate::parse(text).unwrap()
    }

    fn path(text: &str, key: &str, number: u64, copy: u64) -> String {
        let of = Segmentation { key: &safe_name(key), start_ns: NOON_NS, number, copy };
        template(text).of_pipeline("ecg").path(&of).display().to_string()
    }

    #[test]
    fn places_are_filled() {
        let text = "out/{pipeline}/{key}/{start:%Y-%m-%dT%H}-{number:06}.rvl";
        assert_eq!(path(text, "a/b", 7, 0), "out/ecg/a%2Fb/2024-02-29T12-000007.rvl");
        assert_eq!(path(text, "a/b", 7, 2), "out/ecg/a%2Fb/2024-02-29T12-000007-2.rvl");
        assert_eq!(path("{start}", "", 0, 1), "2024-02-29T12-1");
        assert_eq!(path("a.b/{number}", "", 12, 3), "a.b/12-3");
        assert_eq!(path("{{{number}}}.rvl", "", 1, 0), "{1}.rvl");
    }

    #[test]
    fn a_path_without_places_is_one_file() {
        assert_eq!(template("out/x.rvl").fixed(), Some("out/x.rvl".into()));
        assert_eq!(template("out/{pipeline}.rvl").fixed(), None);
        assert_eq!(template("out/{pipeline}.rvl").of_pipeline("ecg").fixed(), Some("out/ecg.rvl".into()));
        assert!(template("out/{pipeline}.rvl").is_one_file());
        assert!(!template("{key}").is_one_file() && !template("{key}").tells_segments_apart());
        assert!(template("{number}").tells_segments_apart() && template("{start}").tells_segments_apart());
    }

    #[test]
    fn what_cannot_be_filled_is_refused() {
        for (text, says) in [
            ("{", "other half"),
            ("a}", "other half"),
            ("{}", "found {}"),
            ("{keys}", "found {keys}"),
            ("{key:3}", "found {key:3}"),
            ("{number:x}", "{number:06}"),
            ("{number:0}", "{number:06}"),
            ("{number:99}", "{number:06}"),
            ("{start:%Q}", "%Q"),
            ("{start:x}", "%Y"),
            ("{start:%}", "%Y"),
        ] {
            let error = PathTemplate::parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn templates_that_can_make_the_same_path_overlap() {
        for (one, other, expected) in [
            ("a.rvl", "./a.rvl", true),
            ("a.rvl", "b.rvl", false),
            ("a.rvl", "a-1.rvl", false),
            ("a-{number}.rvl", "a-17.rvl", true),
            ("a-{number}.rvl", "b-{number}.rvl", false),
            ("a-{number}.rvl", "a-{start:%Y}.rvl", true),
            ("a-{number:06}.rvl", "a-12.rvl", false),
            ("x/{key}.rvl", "x/{start}.rvl", true),
            ("x/{key}.rvl", "y/{key}.rvl", false),
            ("x/{key}.rvl", "x/y/{key}.rvl", false),
            ("./x/{key}.rvl", "x/a.rvl", true),
            ("{start:%Y}.rvl", "{start:%Y/%m}.rvl", false),
        ] {
            assert_eq!(template(one).overlaps(&template(other)), expected, "{one} {other}");
            assert_eq!(template(other).overlaps(&template(one)), expected, "{other} {one}");
        }
    }

    #[test]
    fn the_folder_of_all_paths_is_known() {
        let root = |text: &str| template(text).of_pipeline("p").root();
        assert_eq!(root("out/x/{key}/{start:%Y/%m}.rvl"), ("out/x/".to_owned(), 2));
        assert_eq!(root("{key}.rvl"), (String::new(), 0));
        assert_eq!(root("/a-{number}"), ("/".to_owned(), 0));
    }

    proptest! {
        #[test]
        fn what_a_template_makes_it_reads(
            text in "x?(\\{key\\}|\\{start\\}|\\{number\\}|\\{number:04\\}|\\{start:%j/%H%%\\}|[-/a]){1,5}(\\.rvl)?",
            key in "[aA/%.é-]{1,4}", start_ns: i64, number in 0..20_000_u64, copy in 0..3_u64,
        ) {
            let template = template(&text);
            let key = safe_name(&key);
            let path = template.path(&Segmentation { key: &key, start_ns, number, copy });
            let named = template.read(path.to_str().unwrap());
            prop_assert!(named.is_some(), "{}", path.display());
            let is_copy = template.is_one_file() && copy > 0;
            prop_assert!(is_copy || template.overlaps(&PathTemplate::of_path(&path)), "{}", path.display());
        }

        #[test]
        fn templates_are_read_as_they_display(text in "([a-z./]|\\{\\{|\\{key\\}|\\{start:%Y\\}|\\{number:03\\}){1,9}") {
            prop_assert_eq!(template(&text).to_string(), text);
        }

        #[test]
        fn any_text_is_a_template_or_none(text in "[a{}:%0-9Yks]*", path in "\\PC*") {
            if let Ok(template) = PathTemplate::parse(&text) {
                let _ = (template.read(&path), template.root());
            }
        }
    }
}
