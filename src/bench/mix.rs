//! Which commands a load consists of, and how often each comes.
//!
//! Pure. The commands that count and read share their keys (`counter:…`); those that would make the counters' growth
//! unknowable, `set` and `expiring`, have keys of their own, so that every mix can be verified.

use super::random::Random;
use super::template::{Argument, Digits, Effect, KeyNames, Template};
use crate::limits::{KEY_BYTES_MAX, LOAD_COMMAND_COUNT_MAX, LOAD_KEYS_PER_REQUEST_MAX};

/// What a key begins with when it is long enough: 8 bytes, as all of them.
const COUNTER: &str = "counter:";
const SETTING: &str = "setting:";
const EXPIRING: &str = "expires:";

/// Seconds that an `expiring` counter lives for when nothing else is said.
const EXPIRING_S: u32 = 60;

/// See the module.
#[derive(Clone, Debug)]
pub struct Mix {
    templates: Vec<Template>,
    /// Of 32 random bits, those below the first belong to the first template, and so on.
    ends: Vec<u64>,
    text: String,
}

/// A form of the keys that a load has in the server's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// Bytes of a key.
    pub key_bytes: usize,
    /// They are given a time to live.
    pub expires: bool,
}

impl Mix {
    /// From text as `incr=90,get=10,mget:10=5`; without a weight a command has 1. Keys are `key_bytes` long, their
    /// numbers below `key_count`.
    pub fn parse(text: &str, key_count: u32, key_bytes: usize) -> Result<Mix, String> {
        Mix::parse_with(text, Digits::new(key_count), key_bytes)
    }

    /// The same for a cluster, where all keys of a request must be of one slot: where there are commands of several keys,
    /// numbers are written as `{00001}234`, and those of one request differ in what stands behind the tag alone.
    pub fn parse_for_cluster(text: &str, key_count: u32, key_bytes: usize) -> Result<Mix, String> {
        let counts =
            text.split([',', '=']).filter_map(|item| item.strip_prefix("mget:").or(item.strip_prefix("mincrby:")));
        let most = counts.filter_map(|count| count.parse().ok()).max().unwrap_or(1);
        let digits = if most > 1 { Digits::in_groups(key_count, most) } else { Digits::new(key_count) };
        Mix::parse_with(text, digits, key_bytes)
    }

    fn parse_with(text: &str, digits: Digits, key_bytes: usize) -> Result<Mix, String> {
        let names = Names::new(digits, key_bytes)?;
        let mut templates = Vec::new();
        let mut weights = Vec::new();
        for item in text.split(',') {
            let (tag, weight) = match item.split_once('=') {
                Some((tag, weight)) => (tag, weight.parse().ok().filter(|weight: &u32| *weight > 0)),
                None => (item, Some(1)),
            };
            weights.push(weight.ok_or_else(|| format!("\"{item}\" has no weight from 1 on, as in incr=90,get=10"))?);
            templates.push(names.template(tag)?);
        }
        Mix::new(templates, &weights, text.to_owned())
    }

    /// From commands that the user has written, each as often as the others.
    pub fn of_commands(commands: &[String], key_count: u32) -> Result<Mix, String> {
        let templates: Vec<Template> =
            commands.iter().map(|command| Template::parse(command, key_count)).collect::<Result<_, _>>()?;
        let weights = vec![1; templates.len()];
        Mix::new(templates, &weights, commands.join(", "))
    }

    /// From templates that are written by nobody but looked up: those of a trace.
    pub fn of_templates(templates: Vec<Template>, text: String) -> Result<Mix, String> {
        let weights = vec![1; templates.len()];
        Mix::new(templates, &weights, text)
    }

    fn new(mut templates: Vec<Template>, weights: &[u32], text: String) -> Result<Mix, String> {
        if templates.is_empty() || templates.len() > LOAD_COMMAND_COUNT_MAX {
            return Err(format!("{} commands, of 1 to {LOAD_COMMAND_COUNT_MAX}", templates.len()));
        }
        for index in 1..templates.len() {
            let same_count = templates[..index].iter().filter(|other| other.tag == templates[index].tag).count();
            if same_count > 0 {
                let tag = format!("{}#{}", templates[index].tag, same_count + 1);
                templates[index].tag = tag;
            }
        }
        let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        let mut sum = 0;
        let ends = weights
            .iter()
            .map(|weight| {
                sum += u64::from(*weight);
                (u128::from(sum) * (1 << 32) / u128::from(total)) as u64
            })
            .collect();
        Ok(Mix { templates, ends, text })
    }

    /// The commands.
    pub fn templates(&self) -> &[Template] {
        &self.templates
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The index of the next command.
    #[inline]
    pub fn draw(&self, random: &mut Random) -> usize {
        if self.templates.len() == 1 {
            return 0;
        }
        let bits = random.next_u64() >> 32;
        self.ends.iter().position(|end| bits < *end).expect("the last end is beyond 32 bits")
    }

    /// Bytes of the first key of the first command that has one; 0 where none has.
    pub fn key_bytes(&self) -> usize {
        self.templates.iter().map(Template::key_bytes).find(|bytes| *bytes > 0).unwrap_or(0)
    }

    /// Bytes of the longest request.
    pub fn request_bytes_max(&self) -> usize {
        self.templates.iter().map(Template::request_bytes).max().expect("a mix is not empty")
    }

    /// The forms that its keys have, in the order of the commands; none where no command has a key.
    pub fn forms(&self) -> Vec<Form> {
        let mut forms: Vec<(Option<&KeyNames>, Form)> = Vec::new();
        for template in self.templates.iter().filter(|template| template.key_bytes() > 0) {
            let names = template.names.as_ref();
            match forms.iter_mut().find(|(other, _)| names.is_some() && *other == names) {
                Some((_, form)) => form.expires |= template.expires,
                None => forms.push((names, Form { key_bytes: template.key_bytes(), expires: template.expires })),
            }
        }
        forms.into_iter().map(|(_, form)| form).collect()
    }

    /// The keys whose counters the load counts, each form once; an error says why nothing can be verified.
    pub fn counted_names(&self) -> Result<Vec<KeyNames>, String> {
        let mut counted: Vec<KeyNames> = Vec::new();
        for template in &self.templates {
            match (&template.effect, &template.names) {
                (Effect::Unknown, _) => {
                    return Err(format!("what {} does to counters is not followed", template.tag));
                }
                (Effect::Counts(_), None) => {
                    return Err(format!("the keys of {} are not all of one form", template.tag));
                }
                (Effect::Counts(_), Some(names)) if !counted.contains(names) => counted.push(names.clone()),
                _ => {}
            }
        }
        if counted.is_empty() { Err("nothing is counted".to_owned()) } else { Ok(counted) }
    }
}

/// How keys are named.
struct Names {
    digits: Digits,
    /// Bytes in front of the digits.
    prefix_bytes: usize,
}

impl Names {
    fn new(digits: Digits, key_bytes: usize) -> Result<Names, String> {
        let number_bytes = digits.bytes() + usize::from(digits.are_grouped());
        // One byte tells the kinds of keys apart.
        let range = number_bytes + 1..=KEY_BYTES_MAX;
        if !range.contains(&key_bytes) {
            return Err(format!(
                "keys of {key_bytes} bytes are out of range: choose a --key-size from {} to {KEY_BYTES_MAX}",
                number_bytes + 1
            ));
        }
        Ok(Names { digits, prefix_bytes: key_bytes - number_bytes })
    }

    /// `counter:` shortened, or with zeros behind it.
    fn key(&self, kind: &str, key: usize) -> Argument {
        let mut prefix = format!("{kind:0<width$}", width = self.prefix_bytes);
        prefix.truncate(self.prefix_bytes);
        if self.digits.are_grouped() {
            prefix.push('{');
        }
        Argument::key(&prefix, key)
    }

    fn template(&self, tag: &str) -> Result<Template, String> {
        let (name, parameter) = match tag.split_once(':') {
            Some((name, parameter)) => (name, Some(parameter)),
            None => (tag, None),
        };
        let count = || {
            let count = parameter.and_then(|text| text.parse().ok());
            count.filter(|count| (1..=LOAD_KEYS_PER_REQUEST_MAX).contains(count)).ok_or_else(|| {
                format!("\"{tag}\" does not say how many keys, from 1 to {LOAD_KEYS_PER_REQUEST_MAX}, as in {name}:10")
            })
        };
        let one = |command: &str| vec![Argument::text(command), self.key(COUNTER, 0)];
        let new = |commands: &[Vec<Argument>], keys: &[usize], effect| {
            Template::new(tag, commands, keys, effect, self.digits)
        };
        match (name, parameter) {
            ("incr", None) => new(&[one("INCR")], &[1], Effect::Counts(vec![1])),
            ("get", None) => new(&[one("GET")], &[1], Effect::Reads),
            ("set", None) => {
                let arguments = vec![Argument::text("SET"), self.key(SETTING, 0), Argument::text("1")];
                new(&[arguments], &[1], Effect::Nothing)
            }
            ("mget", _) => {
                let count = count()?;
                let keys = (0..count).map(|key| self.key(COUNTER, key));
                let indexes: Vec<usize> = (1..=count).collect();
                new(&[std::iter::once(Argument::text("MGET")).chain(keys).collect()], &indexes, Effect::Reads)
            }
            ("mincrby", _) => {
                let count = count()?;
                let pairs = (0..count).flat_map(|key| [self.key(COUNTER, key), Argument::text("1")]);
                let indexes: Vec<usize> = (0..count).map(|key| 1 + 2 * key).collect();
                let arguments = std::iter::once(Argument::text("MINCRBY")).chain(pairs).collect();
                new(&[arguments], &indexes, Effect::Counts(vec![1; count]))
            }
            ("expiring", _) => {
                let seconds: u32 =
                    match parameter {
                        None => EXPIRING_S,
                        Some(text) => text.parse().ok().filter(|seconds| *seconds > 0).ok_or_else(|| {
                            format!("\"{tag}\" does not say after how many seconds, as in expiring:60")
                        })?,
                    };
                let key = || self.key(EXPIRING, 0);
                let expire =
                    vec![Argument::text("EXPIRE"), key(), Argument::text(seconds.to_string()), Argument::text("NX")];
                new(&[vec![Argument::text("INCR"), key()], expire], &[1], Effect::Nothing)
            }
            ("ping", None) => new(&[vec![Argument::text("PING")]], &[], Effect::Nothing),
            _ => Err(format!(
                "\"{tag}\" is not one of incr, get, set, mget:KEYS, mincrby:KEYS, expiring, expiring:SECONDS, ping"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mix(text: &str) -> Mix {
        Mix::parse(text, 1_000, 16).unwrap()
    }

    fn requests(mix: &Mix) -> Vec<String> {
        let written = |template: &Template| {
            let mut buffer = vec![0; template.request_bytes()];
            let mut key = 0;
            template.write(&mut buffer, || {
                key += 1;
                key
            });
            String::from_utf8(buffer).unwrap()
        };
        mix.templates().iter().map(written).collect()
    }

    #[test]
    fn commands_are_encoded() {
        let requests = requests(&mix("incr,get,set,mget:2,mincrby:2,expiring:9,ping"));
        let expected = [
            "*2\r\n$4\r\nINCR\r\n$16\r\ncounter:00000001\r\n",
            "*2\r\n$3\r\nGET\r\n$16\r\ncounter:00000001\r\n",
            "*3\r\n$3\r\nSET\r\n$16\r\nsetting:00000001\r\n$1\r\n1\r\n",
            "*3\r\n$4\r\nMGET\r\n$16\r\ncounter:00000001\r\n$16\r\ncounter:00000002\r\n",
            "*5\r\n$7\r\nMINCRBY\r\n$16\r\ncounter:00000001\r\n$1\r\n1\r\n$16\r\ncounter:00000002\r\n$1\r\n1\r\n",
            "*2\r\n$4\r\nINCR\r\n$16\r\nexpires:00000001\r\n*4\r\n$6\r\nEXPIRE\r\n$16\r\nexpires:00000001\r\n$1\r\n9\r\n$2\r\nNX\r\n",
            "*1\r\n$4\r\nPING\r\n",
        ];
        assert_eq!(requests, expected);
    }

    #[test]
    fn keys_are_as_long_as_was_asked_for() {
        let key = |key_count, key_bytes| {
            let mix = Mix::parse("incr", key_count, key_bytes).unwrap();
            let mut key = Vec::new();
            mix.counted_names().unwrap()[0].write(12, &mut key);
            String::from_utf8(key).unwrap()
        };
        assert_eq!(key(100, 9), "c00000012");
        assert_eq!(key(100, 20), "counter:000000000012");
        assert_eq!(key(u32::MAX, 18), "counter:0000000012");
        assert_eq!(key(100, 64).len(), 64);
        for (key_count, key_bytes) in [(100, 8), (100, 1_025), (u32::MAX, 10)] {
            assert!(Mix::parse("incr", key_count, key_bytes).is_err());
        }
    }

    #[test]
    fn keys_have_their_forms_and_some_expire() {
        let form = |key_bytes, expires| Form { key_bytes, expires };
        assert_eq!(mix("incr,get,mget:3,ping").forms(), [form(16, false)]);
        assert_eq!(mix("incr=9,expiring:5").forms(), [form(16, false), form(16, true)]);
        assert_eq!(mix("ping").forms(), []);
        assert_eq!([mix("ping,incr").key_bytes(), mix("ping").key_bytes()], [16, 0]);
        let commands = |commands: &[&str]| {
            let commands: Vec<String> = commands.iter().map(|command| (*command).to_owned()).collect();
            Mix::of_commands(&commands, 10).unwrap().forms()
        };
        // A counter that one command counts and another one lets expire is one.
        assert_eq!(
            commands(&["INCR a:{key}", "expire a:{key} 60", "GET visits:{key}"]),
            [form(10, true), form(15, false)]
        );
        assert_eq!(commands(&["SET a:{key} 1 ex 60"]), [form(10, true)]);
        assert_eq!(commands(&["SET EX 1", "SETEX {key} 9 1"]), [form(2, false), form(8, true)]);
    }

    #[test]
    fn of_a_cluster_all_keys_of_a_request_are_of_one_slot() {
        let cluster = |text, key_count| Mix::parse_for_cluster(text, key_count, 16).unwrap();
        let mix = cluster("mget:2,mincrby:12=3,incr", 1_000);
        assert!(requests(&mix)[1].contains("\r\ncounte{000000}01\r\n"), "{:?}", requests(&mix));
        assert!(mix.templates().iter().all(Template::is_of_one_slot));
        assert!(!super::Mix::parse("mget:2", 1_000, 16).unwrap().templates()[0].is_of_one_slot());
        // Every number has its key, of the same length.
        let names = &mix.counted_names().unwrap()[0];
        let mut keys: Vec<Vec<u8>> = (0..1_000)
            .map(|number| {
                let mut key = Vec::new();
                names.write(number, &mut key);
                key
            })
            .collect();
        assert!(keys.iter().all(|key| key.len() == 16));
        keys.dedup();
        assert_eq!(keys.len(), 1_000);
        // A group that the keys end in has only those.
        let mut request = vec![0; mix.templates()[1].request_bytes()];
        let small = cluster("mincrby:12", 105);
        let mut number = 99;
        small.templates()[0].write(&mut request, || {
            number += 1;
            number
        });
        let text = String::from_utf8(request).unwrap();
        assert_eq!(text.matches("{000001}0").count(), 12, "{text}");
        assert!((5..10).all(|beyond| !text.contains(&format!("{{000001}}0{beyond}"))), "{text}");
        // Without such commands keys are as ever.
        assert_eq!(requests(&cluster("incr", 1_000)), requests(&self::mix("incr")));
        assert!(Mix::parse_for_cluster("mget:2", 1_000, 10).is_err());
    }

    #[test]
    fn commands_come_as_often_as_their_weights_say() {
        let mix = mix("incr=90,get=9,mget:3=1");
        let mut random = Random::new(1, 0);
        let mut counts = [0; 3];
        (0..100_000).for_each(|_| counts[mix.draw(&mut random)] += 1);
        for (count, expected) in counts.iter().zip([90_000.0, 9_000.0, 1_000.0_f64]) {
            assert!((f64::from(*count) - expected).abs() < 5.0 * expected.sqrt(), "{counts:?}");
        }
    }

    #[test]
    fn every_mix_of_named_commands_can_be_verified() {
        let names = mix("incr,get,set,mincrby:3,expiring").counted_names().unwrap();
        assert_eq!(names.len(), 1);
        assert_eq!(mix("get").counted_names().unwrap_err(), "nothing is counted");
        let commands = |commands: &[&str]| {
            let commands: Vec<String> = commands.iter().map(|command| (*command).to_owned()).collect();
            Mix::of_commands(&commands, 10)
        };
        let both = commands(&["INCR a:{key}", "INCR b:{key}"]).unwrap();
        assert_eq!(both.counted_names().unwrap().len(), 2);
        assert_eq!(both.templates()[1].tag, "incr#2");
        assert!(commands(&["INCR a", "SET a 1"]).unwrap().counted_names().unwrap_err().contains("set"));
    }

    #[test]
    fn wrong_texts_are_refused_with_what_is_right() {
        for (text, said) in [
            ("", "is not one of incr"),
            ("incr=0", "weight"),
            ("incr=x", "weight"),
            ("incr,", "is not one of incr"),
            ("mget", "how many keys"),
            ("mget:0", "how many keys"),
            ("mincrby:100000", "how many keys"),
            ("expiring:0", "how many seconds"),
            ("lpush", "is not one of incr"),
        ] {
            let error = Mix::parse(text, 10, 16).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
