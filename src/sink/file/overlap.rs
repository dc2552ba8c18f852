//! Whether two outputs, or an output and an input, can have the same path.

use std::path::{Component, Path, PathBuf};

use super::template::{PathTemplate, Piece, is_of_name};

impl PathTemplate {
    /// True if both can make the same path.
    pub fn overlaps(&self, other: &Self) -> bool {
        meet(&self.plain_atoms(), &other.plain_atoms())
    }

    /// True if it can make a path that the pattern of `*`, `?` and `[...]` matches.
    pub fn overlaps_pattern(&self, pattern: &Path) -> bool {
        let text = plain(&pattern.to_string_lossy());
        let mut atoms = Vec::new();
        let mut rest = text.as_bytes();
        while let Some((byte, after)) = rest.split_first() {
            rest = after;
            atoms.push(match byte {
                b'*' if rest.first() == Some(&b'*') => Atom::Path,
                b'*' => Atom::Part,
                b'?' => Atom::Any,
                b'[' => {
                    // A bracket stands for itself where it is the first of the class.
                    let end = rest.iter().skip(1).position(|byte| *byte == b']').map(|end| end + 2);
                    rest = end.and_then(|end| rest.get(end..)).unwrap_or_default();
                    Atom::Any
                }
                byte => Atom::Byte(*byte),
            });
        }
        // `**/` is no folder, too.
        while let Some(at) =
            atoms.windows(3).position(|three| matches!(three, [Atom::Path, Atom::Part, Atom::Byte(b'/')]))
        {
            atoms.drain(at + 1..at + 3);
        }
        meet(&self.plain_atoms(), &atoms)
    }

    /// What its paths look like, `.` left out.
    fn plain_atoms(&self) -> Vec<Atom> {
        let mut atoms = Vec::new();
        for (i, piece) in self.pieces.iter().enumerate() {
            match piece {
                Piece::Text(text) if i == 0 => atoms.extend(plain(text).bytes().map(Atom::Byte)),
                Piece::Text(text) => atoms.extend(text.bytes().map(Atom::Byte)),
                Piece::Pipeline | Piece::Key => atoms.extend([Atom::Name, Atom::Names]),
                Piece::Start(format) => atoms.extend(format.of(0).bytes().map(|byte| match byte {
                    b'0'..=b'9' => Atom::Digit,
                    byte => Atom::Byte(byte),
                })),
                Piece::Number(width) => {
                    atoms.extend(std::iter::repeat_n(Atom::Digit, *width));
                    atoms.push(Atom::Copies);
                }
                Piece::Copy if self.is_one_file() => {}
                Piece::Copy => atoms.push(Atom::Copies),
            }
        }
        atoms.dedup_by(|next, before| matches!((next, before), (Atom::Byte(b'/'), Atom::Byte(b'/'))));
        atoms
    }
}

/// True if some path is made by both.
fn meet(ours: &[Atom], theirs: &[Atom]) -> bool {
    let mut reached = vec![vec![false; theirs.len() + 1]; ours.len() + 1];
    let mut stack = vec![(0, 0)];
    while let Some((i, j)) = stack.pop() {
        let Some(seen) = reached.get_mut(i).and_then(|row| row.get_mut(j)) else { continue };
        if std::mem::replace(seen, true) {
            continue;
        }
        let (our, their) = (ours.get(i), theirs.get(j));
        if our.is_some_and(Atom::may_end) {
            stack.push((i + 1, j));
        }
        if their.is_some_and(Atom::may_end) {
            stack.push((i, j + 1));
        }
        if let (Some(our), Some(their)) = (our, their)
            && (0..=u8::MAX).any(|byte| our.takes(byte) && their.takes(byte))
        {
            stack.push((i + usize::from(!our.may_end()), j + usize::from(!their.may_end())));
        }
    }
    reached.last().and_then(|row| row.last()).copied().unwrap_or(false)
}

/// The leading text of a path without `.` components.
fn plain(text: &str) -> String {
    let path: PathBuf = Path::new(text).components().filter(|part| *part != Component::CurDir).collect();
    let path = path.display().to_string();
    let slash = if text.ends_with('/') && !path.is_empty() && !path.ends_with('/') { "/" } else { "" };
    path + slash
}

/// Characters that may stand at a place of a path.
#[derive(Clone, Copy, Debug)]
enum Atom {
    Byte(u8),
    Digit,
    /// One of a name.
    Name,
    /// Any number of those.
    Names,
    /// Any number of digits and dashes.
    Copies,
    /// Anything within a part of the path.
    Any,
    /// Any number of those.
    Part,
    /// Anything.
    Path,
}

impl Atom {
    fn takes(&self, byte: u8) -> bool {
        match self {
            Self::Byte(own) => *own == byte,
            Self::Digit => byte.is_ascii_digit(),
            Self::Name | Self::Names => is_of_name(byte),
            Self::Copies => byte.is_ascii_digit() || byte == b'-',
            Self::Any | Self::Part => byte != b'/',
            Self::Path => true,
        }
    }

    fn may_end(&self) -> bool {
        matches!(self, Self::Names | Self::Copies | Self::Part | Self::Path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_meet_what_templates_can_make() {
        for (template, pattern, meets) in [
            ("own/{number:03}.rvl", "own/*.rvl", true),
            ("own/{number:03}.rvl", "own/[0-9]*", true),
            ("own/{key}.rvl", "./own/bed-?.rvl", true),
            ("own/{start:%Y/%m}/a.rvl", "own/*.rvl", false),
            ("own/{start:%Y/%m}/a.rvl", "own/**/*.rvl", true),
            ("own/a.rvl", "own/**/a.rvl", true),
            ("own/a.rvl", "**/*.rvl", true),
            ("own/{number}.rvl", "own/a*.rvl", false),
            ("own/{key}.rvl", "own/*.csv", false),
            ("lg/refused.jsonl", "lg/*", true),
        ] {
            let template = PathTemplate::parse(template).unwrap();
            assert_eq!(template.overlaps_pattern(Path::new(pattern)), meets, "{template} {pattern}");
        }
    }
}
