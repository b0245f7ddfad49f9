//! The values that a flag or a key can take, each parsed in one place: from a flag's text, or from a TOML value.
//!
//! Invariant: a value of one of these types is well formed. Whether it suits the machine is not known here.

use std::fmt;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::ops::Deref;
use std::str::FromStr;

use serde::de::{Deserializer, Error, SeqAccess, Visitor};

use crate::limits::SHARD_COUNT_MAX;

/// Highest core that can be named: the kernel's own largest `NR_CPUS`, less one.
const CORE_MAX: usize = 8_191;

/// A number of bytes, written as in redis.conf: `1k` is 1,000 and `1kb` 1,024 bytes; so for `m` and `g`, in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteCount(pub u64);

impl FromStr for ByteCount {
    type Err = String;

    fn from_str(text: &str) -> Result<ByteCount, String> {
        let wrong = || format!("\"{text}\" is not {}", ByteCount::EXPECTED);
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let unit_bytes: u64 = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" => 1_000,
            "kb" => 1 << 10,
            "m" => 1_000_000,
            "mb" => 1 << 20,
            "g" => 1_000_000_000,
            "gb" => 1 << 30,
            _ => return Err(wrong()),
        };
        let number: u64 = number.parse().map_err(|_| wrong())?;
        number.checked_mul(unit_bytes).map(ByteCount).ok_or_else(wrong)
    }
}

/// Rounded for people, in binary units: `8.0 MiB`.
impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scaled = |shift: u32| self.0 as f64 / (1_u64 << shift) as f64;
        match self.0 {
            0..1_024 => write!(f, "{} bytes", self.0),
            1_024..1_048_576 => write!(f, "{:.1} KiB", scaled(10)),
            1_048_576..1_073_741_824 => write!(f, "{:.1} MiB", scaled(20)),
            _ => write!(f, "{:.1} GiB", scaled(30)),
        }
    }
}

/// What [`Auto`] can hold.
pub trait Choice: FromStr {
    /// What is to be written, for messages.
    const EXPECTED: &'static str;
}

impl Choice for ByteCount {
    const EXPECTED: &'static str = "a size in bytes, or such as 100mb or 4gb (1k = 1000, 1kb = 1024)";
}

impl Choice for usize {
    const EXPECTED: &'static str = "a count";
}

impl Choice for u32 {
    const EXPECTED: &'static str = "a count";
}

/// `auto`, or a value that the operator chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auto<T> {
    /// The server chooses.
    Auto,
    /// The operator chose.
    Given(T),
}

impl<T> Auto<T> {
    /// The operator's choice, if there is one.
    pub fn given(self) -> Option<T> {
        match self {
            Auto::Auto => None,
            Auto::Given(value) => Some(value),
        }
    }
}

impl<T: Choice> FromStr for Auto<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Auto<T>, String> {
        match text {
            "auto" => Ok(Auto::Auto),
            _ => {
                text.parse().map(Auto::Given).map_err(|_| format!("\"{text}\" is neither \"auto\" nor {}", T::EXPECTED))
            }
        }
    }
}

/// Which cores the shards are pinned to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinChoice {
    /// One available core a shard, in ascending order.
    Auto,
    /// The kernel moves the threads as it likes.
    None,
    /// Shard 0 on the first of these, and so on. Not empty, no core twice.
    Cores(Vec<usize>),
}

impl FromStr for PinChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<PinChoice, String> {
        let wrong = || format!("\"{text}\" is not \"auto\", \"none\" or a list of cores such as 0,2-5");
        let core = |text: &str| text.trim().parse().ok().filter(|core| *core <= CORE_MAX).ok_or_else(wrong);
        match text {
            "auto" => return Ok(PinChoice::Auto),
            "none" => return Ok(PinChoice::None),
            _ => {}
        }
        let mut cores: Vec<usize> = Vec::new();
        for range in text.split(',') {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last) = (core(first)?, core(last)?);
            if first > last {
                return Err(wrong());
            }
            for core in first..=last {
                if cores.contains(&core) {
                    return Err(format!("core {core} is named twice in \"{text}\""));
                }
                if cores.len() == SHARD_COUNT_MAX {
                    return Err(format!("\"{text}\" names more than {SHARD_COUNT_MAX} cores"));
                }
                cores.push(core);
            }
        }
        Ok(PinChoice::Cores(cores))
    }
}

/// Permission bits of a file, written in octal as for chmod: `700`. 0 leaves what the umask gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")] // not a TOML integer, whose 700 is decimal
pub struct FileMode(pub u32);

impl FromStr for FileMode {
    type Err = String;

    fn from_str(text: &str) -> Result<FileMode, String> {
        let octal = !text.is_empty() && text.len() <= 4 && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
        let mode = octal.then(|| u32::from_str_radix(text, 8).ok()).flatten().filter(|mode| *mode <= 0o777);
        mode.map(FileMode).ok_or_else(|| format!("\"{text}\" is not a file mode in octal digits such as 700"))
    }
}

impl TryFrom<String> for FileMode {
    type Error = String;

    fn try_from(text: String) -> Result<FileMode, String> {
        text.parse()
    }
}

/// `yes` or `no`, as in redis.conf; in TOML also `true` or `false`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct YesNo(pub bool);

impl FromStr for YesNo {
    type Err = String;

    fn from_str(text: &str) -> Result<YesNo, String> {
        match text {
            "yes" => Ok(YesNo(true)),
            "no" => Ok(YesNo(false)),
            _ => Err(format!("\"{text}\" is neither yes nor no")),
        }
    }
}

/// When a change is on the disk for certain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AppendFsync {
    /// Before it is acknowledged.
    Always,
    /// At most a second and one sync later.
    #[default]
    Everysec,
    /// When the kernel writes it.
    No,
}

impl AppendFsync {
    /// Its name in redis.conf.
    pub fn name(self) -> &'static str {
        match self {
            AppendFsync::Always => "always",
            AppendFsync::Everysec => "everysec",
            AppendFsync::No => "no",
        }
    }
}

impl FromStr for AppendFsync {
    type Err = String;

    fn from_str(text: &str) -> Result<AppendFsync, String> {
        let all = [AppendFsync::Always, AppendFsync::Everysec, AppendFsync::No];
        let named = all.into_iter().find(|choice| choice.name() == text);
        named.ok_or_else(|| format!("\"{text}\" is not one of always, everysec, no"))
    }
}

/// How much is logged. Each level includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// What ends the server or breaks a promise.
    Error,
    /// What the operator should change. Redis's `warning`.
    Warn,
    /// Start, stop and what changes in between. Redis's `notice`.
    Info,
    /// Single connections. Redis's `verbose` and `debug`.
    Debug,
}

impl fmt::Display for LogLevel {
    /// As Redis calls it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warning",
            LogLevel::Info => "notice",
            LogLevel::Debug => "debug",
        })
    }
}

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<LogLevel, String> {
        match text {
            "error" => Ok(LogLevel::Error),
            "warn" | "warning" => Ok(LogLevel::Warn),
            "info" | "notice" => Ok(LogLevel::Info),
            "debug" | "verbose" => Ok(LogLevel::Debug),
            _ => {
                Err(format!("\"{text}\" is not one of error, warn, info, debug (or Redis's warning, notice, verbose)"))
            }
        }
    }
}

/// Whether shards sleep when they have nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusyPoll {
    /// They go on polling for a little while, as long as that mostly brings something.
    Auto,
    /// They sleep at once.
    No,
    /// They never sleep.
    Always,
    /// They sleep when there has been nothing to do for so many microseconds.
    For(u32),
}

impl fmt::Display for BusyPoll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BusyPoll::Auto => f.write_str("auto"),
            BusyPoll::No => f.write_str("no"),
            BusyPoll::Always => f.write_str("always"),
            BusyPoll::For(limit_us) => write!(f, "{limit_us}"),
        }
    }
}

impl FromStr for BusyPoll {
    type Err = String;

    fn from_str(text: &str) -> Result<BusyPoll, String> {
        match text {
            "auto" => Ok(BusyPoll::Auto),
            "no" => Ok(BusyPoll::No),
            "always" => Ok(BusyPoll::Always),
            _ => text.parse().ok().filter(|us| *us > 0).map(BusyPoll::For).ok_or_else(|| {
                format!("\"{text}\" is not one of auto, no, always, or a number of microseconds from 1 on")
            }),
        }
    }
}

/// A password, which [`Debug`](fmt::Debug) does not show.
#[derive(Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(from = "String")]
pub struct Password(String);

impl From<String> for Password {
    fn from(text: String) -> Password {
        Password(text)
    }
}

impl From<&str> for Password {
    fn from(text: &str) -> Password {
        Password(text.to_owned())
    }
}

impl Deref for Password {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// Deserialize a value that is written as a TOML string, number or boolean and parsed as its flag is.
pub fn scalar<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = String>,
{
    deserializer.deserialize_any(Scalar(PhantomData)).map(Some)
}

/// Deserialize one address, or an array of them.
pub fn addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<IpAddr>>, D::Error> {
    deserializer.deserialize_any(Addresses).map(Some)
}

struct Scalar<T>(PhantomData<T>);

impl<T: FromStr<Err = String>> Visitor<'_> for Scalar<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, an integer or a boolean")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_bool<E: Error>(self, yes: bool) -> Result<T, E> {
        self.visit_str(if yes { "yes" } else { "no" })
    }
}

struct Addresses;

impl<'de> Visitor<'de> for Addresses {
    type Value = Vec<IpAddr>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an IP address or an array of them")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Vec<IpAddr>, E> {
        text.parse().map(|address| vec![address]).map_err(|error| E::custom(format!("\"{text}\": {error}")))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Vec<IpAddr>, A::Error> {
        let mut addresses = Vec::new();
        while let Some(address) = elements.next_element()? {
            addresses.push(address);
        }
        Ok(addresses)
    }
}
