//! The `Link` header (RFC 8288 section 3) of a list that goes on: where its next page is. Knows nothing of registries.

/// The target of the first link whose relation is `next`, over all lines of the header; `None` if there is none. An error if a
/// line cannot be read: what it leads to is not known then.
pub fn next<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Result<Option<String>, Unreadable> {
    for line in lines {
        let line = str::from_utf8(line).map_err(|_| Unreadable)?;
        let mut rest = Rest(line);
        while rest.more() {
            let (target, is_next) = rest.link()?;
            if is_next {
                return Ok(Some(target.to_owned()));
            }
        }
    }
    Ok(None)
}

/// A line is not as the RFC says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable;

/// What is left of a line.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    /// Whether there is another link.
    fn more(&mut self) -> bool {
        self.0 = self.0.trim_start_matches([' ', '\t', ',']);
        !self.0.is_empty()
    }

    fn takes(&mut self, wanted: char) -> bool {
        self.0 = self.0.trim_start_matches([' ', '\t']);
        match self.0.strip_prefix(wanted) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    /// A target, and whether it is the next page.
    fn link(&mut self) -> Result<(&'a str, bool), Unreadable> {
        if !self.takes('<') {
            return Err(Unreadable);
        }
        let (target, rest) = self.0.split_once('>').ok_or(Unreadable)?;
        self.0 = rest;
        // Of a relation that comes twice the first counts (section 3.3).
        let mut relation: Option<bool> = None;
        while self.takes(';') {
            let (name, value) = self.parameter()?;
            if name.eq_ignore_ascii_case("rel") && relation.is_none() {
                let mut all = value.split_ascii_whitespace();
                relation = Some(all.any(|one| one.eq_ignore_ascii_case("next")));
            }
        }
        if !(self.0.is_empty() || self.0.starts_with(',')) {
            return Err(Unreadable);
        }
        Ok((target.trim(), relation == Some(true)))
    }

    /// Name and value; an empty name for nothing between two semicolons.
    fn parameter(&mut self) -> Result<(&'a str, String), Unreadable> {
        self.0 = self.0.trim_start_matches([' ', '\t']);
        let name = self.word();
        if !self.takes('=') {
            return Ok((name, String::new()));
        }
        if !self.takes('"') {
            return Ok((name, self.word().to_owned()));
        }
        let mut value = String::new();
        let mut letters = self.0.char_indices();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '"' => {
                    self.0 = &self.0[at + 1..];
                    self.0 = self.0.trim_start_matches([' ', '\t']);
                    return Ok((name, value));
                }
                '\\' => value.extend(letters.next().map(|(_, letter)| letter)),
                letter => value.push(letter),
            }
        }
        Err(Unreadable)
    }

    /// Up to what ends a name or an unquoted value.
    fn word(&mut self) -> &'a str {
        self.0 = self.0.trim_start_matches([' ', '\t']);
        let end = self
            .0
            .find([' ', '\t', '=', ';', ','])
            .unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest.trim_start_matches([' ', '\t']);
        word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Result<Option<String>, Unreadable> {
        next(lines.iter().map(|line| line.as_bytes()))
    }

    #[test]
    fn the_next_page_in_every_form() {
        for line in [
            "</p?n=2>; rel=\"next\"",
            "</p?n=2>;rel=next",
            "</p?n=2>; REL=\"NEXT\"",
            "</p?n=2> ; rel = \"next\" ; title=\"a, b; c\"",
            "</p?n=2>; rel=\"prefetch next\"",
            "</p?n=2>; title=\"\\\"\"; rel=next;",
            "</first>; rel=first, </p?n=2>; rel=next, </p?n=9>; rel=last",
            ", </p?n=2>; rel=next,",
        ] {
            assert_eq!(read(&[line]), Ok(Some("/p?n=2".to_owned())), "{line}");
        }
        let two = ["</first>; rel=\"first\"", "</p?n=2>; rel=\"next\""];
        assert_eq!(read(&two), Ok(Some("/p?n=2".to_owned())));
        for none in [
            "",
            "</p>; rel=prev",
            "</p>; title=\"rel=next\"",
            "</p>; rel=nextpage",
            "</p>; rel=prev; rel=next",
            "</p>",
        ] {
            assert_eq!(read(&[none]), Ok(None), "{none}");
        }
        for bad in [
            "/p; rel=next",
            "</p",
            "</p>; rel=\"next",
            "</p> x",
            "</p>; rel=next x",
        ] {
            assert_eq!(read(&[bad]), Err(Unreadable), "{bad}");
        }
        assert_eq!(
            next([&b"<\xff>; rel=next"[..]].into_iter()),
            Err(Unreadable)
        );
    }
}
