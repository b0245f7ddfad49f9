//! A command as a user types it for `--command`, made a [`Template`].

use super::{Argument, Digits, Effect, Piece, Template};
use crate::command::{Span, Spans};
use crate::limits::ARGUMENT_COUNT_MAX;
use crate::resp::inline::{self, Inline};

/// What stands for a key's number in a command that the user writes.
const PLACEHOLDER: &str = "{key}";

impl Template {
    /// As if a user had written the command: words, `"quoted ones"` and `'quoted ones'` too, with `{key}` for a key's number.
    pub fn parse(text: &str, key_count: u32) -> Result<Template, String> {
        let words = words(text)?;
        let Some(name) = words.first() else { return Err("a command is empty".to_owned()) };
        let mut next_key = 0;
        let arguments: Vec<Argument> = words.iter().map(|word| argument(word, &mut next_key)).collect();
        let (effect, key_arguments) = effect(&words);
        Template::new(&name.to_ascii_lowercase(), &[arguments], &key_arguments, effect, Digits::new(key_count))
    }
}

/// What a command that the user has written does, and which of its words are keys.
fn effect(words: &[String]) -> (Effect, Vec<usize>) {
    let increment = |word: &String| word.parse().ok().filter(|increment: &i64| *increment >= 0);
    let all = (1..words.len()).collect();
    match (words[0].to_ascii_uppercase().as_str(), words.len()) {
        ("INCR", 2) => (Effect::Counts(vec![1]), all),
        ("INCRBY", 3) => match increment(&words[2]) {
            Some(increment) => (Effect::Counts(vec![increment]), vec![1]),
            None => (Effect::Unknown, vec![1]),
        },
        ("MINCRBY", 3..) if words.len() % 2 == 1 => {
            let keys = (1..words.len()).step_by(2).collect();
            match words[2..].iter().step_by(2).map(increment).collect() {
                Some(increments) => (Effect::Counts(increments), keys),
                None => (Effect::Unknown, keys),
            }
        }
        ("GET", 2) | ("MGET", 2..) => (Effect::Reads, all),
        ("PING" | "ECHO" | "TIME" | "DBSIZE" | "INFO", _) => (Effect::Nothing, Vec::new()),
        ("EXISTS" | "TTL" | "PTTL" | "TYPE" | "STRLEN" | "TOUCH", 2..) => (Effect::Nothing, vec![1]),
        (_, 1) => (Effect::Unknown, Vec::new()),
        _ => (Effect::Unknown, vec![1]),
    }
}

fn argument(word: &str, next_key: &mut usize) -> Argument {
    let mut pieces = Vec::new();
    for (index, text) in word.split(PLACEHOLDER).enumerate() {
        if index > 0 {
            pieces.push(Piece::Digits(*next_key));
            *next_key += 1;
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text.as_bytes().to_vec()));
        }
    }
    Argument(pieces)
}

/// The words of a command, split as the server splits a line that a person typed.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut line = text.as_bytes().to_vec();
    let mut spans = Spans::default();
    inline::split(&mut line, 0, &mut spans).map_err(|problem| match problem {
        Inline::Broken(_) => format!("the quotation marks in {text:?} are not balanced"),
        Inline::TooMany => format!("a command has more than {ARGUMENT_COUNT_MAX} words; --mix makes longer ones"),
    })?;
    let word = |span: &Span| String::from_utf8(span.of(&line).to_vec());
    spans
        .as_slice()
        .iter()
        .map(word)
        .collect::<Result<_, _>>()
        .map_err(|_| format!("{text:?} escapes bytes that are no text"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::LOAD_REQUEST_BYTES_MAX;

    #[test]
    fn what_cannot_be_followed_is_known_as_such() {
        let parse = |text| Template::parse(text, 10).unwrap();
        for text in ["DECR a", "INCRBY a -1", "SET a 1", "FLUSHALL", "MINCRBY a", "INCRBY a x"] {
            assert_eq!(parse(text).effect, Effect::Unknown, "{text}");
        }
        assert_eq!(parse("PING").effect, Effect::Nothing);
        assert_eq!(parse("MGET a b").effect, Effect::Reads);
        // Two forms, and two numbers in one.
        assert_eq!(parse("MGET a:{key} b:{key}").names, None);
        assert_eq!(parse("INCR {key}:{key}").names, None);
        assert_eq!(parse("INCR hits").names.unwrap().count(10), 1);
    }

    #[test]
    fn words_are_split_at_blanks_outside_quotation_marks() {
        assert_eq!(words(" ECHO \"a  b\" \n\t\"\" ").unwrap(), ["ECHO", "a  b", ""]);
        assert_eq!(words("ECHO 'a \"b' \"it's\"").unwrap(), ["ECHO", "a \"b", "it's"]);
        assert!(words("ECHO \"a").is_err() && words("ECHO \"a\"b").is_err() && words("ECHO \"\\xff\"").is_err());
        assert!(words(&"a ".repeat(ARGUMENT_COUNT_MAX + 1)).unwrap_err().contains("--mix"));
        assert!(Template::parse("  ", 1).is_err());
        assert!(Template::parse(&format!("ECHO {}", "x".repeat(LOAD_REQUEST_BYTES_MAX)), 1).is_err());
    }
}
