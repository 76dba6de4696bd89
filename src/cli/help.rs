//! How longer help texts stand on a page: a paragraph flows, and what is indented (an example) stays as it is.

/// A text of which the line breaks within paragraphs are those of its source: they become spaces, so that only the terminal
/// breaks lines. A line that is indented begins a line of its own.
pub fn flow(text: &str) -> String {
    let mut all = String::with_capacity(text.len());
    let mut last = "";
    for line in text.lines() {
        let prose = |line: &str| !line.is_empty() && !line.starts_with(' ');
        if !all.is_empty() {
            all.push(if prose(last) && prose(line) {
                ' '
            } else {
                '\n'
            });
        }
        all.push_str(line);
        last = line;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::flow;

    #[test]
    fn paragraphs_flow_and_examples_stay() {
        let text = "One\nsentence.\n\nExample:\n  a b\n    c\nAnd\nmore.";
        let want = "One sentence.\n\nExample:\n  a b\n    c\nAnd more.";
        assert_eq!(flow(text), want);
        assert_eq!(flow(want), want);
        assert_eq!(flow(""), "");
    }
}
