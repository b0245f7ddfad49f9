//! The table of all commands, and finding a command by its name.
//!
//! The rows are in `table/`, by family. Here they are joined and numbered at compile time, and a perfect hash over
//! the names is found, so that a lookup is two multiplications and two loads, whatever bytes it is given.

mod cluster;
mod connection;
mod keys;
mod latency;
mod rows;
mod server;
mod strings;
mod transactions;

use super::Spec;

const FAMILIES: [&[Spec]; 6] =
    [strings::SPECS, keys::SPECS, transactions::SPECS, connection::SPECS, server::SPECS, cluster::SPECS];

/// Commands, subcommands not counted. Their [`Spec::index`] is below this.
pub const COMMAND_COUNT: usize = {
    let mut count = 0;
    let mut family = 0;
    while family < FAMILIES.len() {
        count += FAMILIES[family].len();
        family += 1;
    }
    count
};

/// Commands and subcommands. Every [`Spec::index`] is below this.
pub const SPEC_COUNT: usize = COMMAND_COUNT + SUBCOMMAND_COUNT;

/// All commands, in the order of their index.
pub fn commands() -> &'static [Spec] {
    &COMMANDS
}

/// The command or subcommand with this index.
pub fn by_index(index: usize) -> &'static Spec {
    if index < COMMAND_COUNT { &COMMANDS[index] } else { &SUBCOMMANDS[index - COMMAND_COUNT] }
}

/// Find a command by its name, in any case. Allocates nothing.
#[inline]
pub fn lookup(name: &[u8]) -> Option<&'static Spec> {
    let (first, last) = words(name)?;
    let index = usize::from(PLACES[place(first, last, MULTIPLIER)]);
    let known = KNOWN.get(index)?;
    (known.first == first && known.last == last && known.len == name.len()).then(|| &COMMANDS[index])
}

/// Find a subcommand of `container` by its name, in any case.
pub fn subcommand(container: &Spec, name: &[u8]) -> Option<&'static Spec> {
    container.subcommands.iter().find(|spec| name.eq_ignore_ascii_case(spec.own_name().as_bytes()))
}

/// Find by full name, `client|id` for a subcommand.
pub fn lookup_full(name: &[u8]) -> Option<&'static Spec> {
    match memchr::memchr(b'|', name) {
        None => lookup(name),
        Some(bar) => subcommand(lookup(&name[..bar])?, &name[bar + 1..]),
    }
}

/// The index of the command with this full name, in lower case: `incr`, `client|id`.
pub const fn index_of(name: &str) -> u16 {
    let (mut index, mut subcommand_index) = (0, COMMAND_COUNT);
    while index < COMMAND_COUNT {
        if is_same(JOINED[index].name, name) {
            return index as u16;
        }
        let mut at = 0;
        while at < JOINED[index].subcommands.len() {
            if is_same(JOINED[index].subcommands[at].name, name) {
                return subcommand_index as u16;
            }
            (at, subcommand_index) = (at + 1, subcommand_index + 1);
        }
        index += 1;
    }
    panic!("no command has this name")
}

/// `==`, for constants.
const fn is_same(left: &str, right: &str) -> bool {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    let mut same_count = 0;
    while same_count < left.len() && same_count < right.len() && left[same_count] == right[same_count] {
        same_count += 1;
    }
    same_count == left.len() && same_count == right.len()
}

static COMMANDS: [Spec; COMMAND_COUNT] = {
    let mut commands = JOINED;
    let mut index = 0;
    let mut start = 0;
    while index < COMMAND_COUNT {
        commands[index].index = index as u16;
        // The numbered copies of its subcommands, in place of the rows'.
        let count = commands[index].subcommands.len();
        commands[index].subcommands = SUBCOMMANDS.split_at(start).1.split_at(count).0;
        start += count;
        index += 1;
    }
    commands
};

static SUBCOMMANDS: [Spec; SUBCOMMAND_COUNT] = {
    let mut subcommands = [Spec::BLANK; SUBCOMMAND_COUNT];
    let mut next = 0;
    let mut index = 0;
    while index < COMMAND_COUNT {
        let rows = JOINED[index].subcommands;
        let mut row = 0;
        while row < rows.len() {
            subcommands[next] = rows[row];
            subcommands[next].index = (COMMAND_COUNT + next) as u16;
            next += 1;
            row += 1;
        }
        index += 1;
    }
    subcommands
};

const JOINED: [Spec; COMMAND_COUNT] = {
    let mut joined = [Spec::BLANK; COMMAND_COUNT];
    let mut next = 0;
    let mut family = 0;
    while family < FAMILIES.len() {
        let mut row = 0;
        while row < FAMILIES[family].len() {
            joined[next] = FAMILIES[family][row];
            next += 1;
            row += 1;
        }
        family += 1;
    }
    joined
};

const SUBCOMMAND_COUNT: usize = {
    let mut count = 0;
    let mut index = 0;
    while index < COMMAND_COUNT {
        count += JOINED[index].subcommands.len();
        index += 1;
    }
    count
};

/// A command's name as two overlapping words of lower case, and its length.
struct Known {
    first: u64,
    last: u64,
    len: usize,
}

static KNOWN: [Known; COMMAND_COUNT] = {
    let mut known = [const { Known { first: 0, last: 0, len: 0 } }; COMMAND_COUNT];
    let mut index = 0;
    while index < COMMAND_COUNT {
        let name = JOINED[index].name.as_bytes();
        let (first, last) = words_of_command(name);
        known[index] = Known { first, last, len: name.len() };
        index += 1;
    }
    known
};

const PLACE_COUNT: usize = 512;
const NOBODY: u8 = u8::MAX;
const _: () = assert!(COMMAND_COUNT < NOBODY as usize);

/// The index of the command at each place of the perfect hash.
static PLACES: [u8; PLACE_COUNT] = match places(MULTIPLIER) {
    Some(places) => places,
    None => unreachable!(),
};

/// The first odd multiplier of a fixed sequence that gives every command a place of its own.
const MULTIPLIER: u64 = {
    let mut multiplier: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut tries = 0;
    while places(multiplier).is_none() {
        multiplier = multiplier.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(2);
        tries += 1;
        assert!(tries < 5_000, "no perfect hash: enlarge PLACE_COUNT");
    }
    multiplier
};

const fn places(multiplier: u64) -> Option<[u8; PLACE_COUNT]> {
    let mut places = [NOBODY; PLACE_COUNT];
    let mut index = 0;
    while index < COMMAND_COUNT {
        let (first, last) = words_of_command(JOINED[index].name.as_bytes());
        let place = place(first, last, multiplier);
        if places[place] != NOBODY {
            return None;
        }
        places[place] = index as u8;
        index += 1;
    }
    Some(places)
}

#[inline]
const fn place(first: u64, last: u64, multiplier: u64) -> usize {
    let mixed = (first.wrapping_mul(multiplier) ^ last).wrapping_mul(multiplier);
    (mixed >> (u64::BITS - PLACE_COUNT.trailing_zeros())) as usize
}

/// Lower case, for letters: with this bit set, exactly the two cases of a letter become that letter.
const LOWER: u64 = 0x2020_2020_2020_2020;

/// The first and the last bytes of a name, overlapping when it is short; with its length they determine it. None for
/// lengths that no command has.
#[inline]
const fn words(name: &[u8]) -> Option<(u64, u64)> {
    let (first, last) = match name.len() {
        8..=16 => match (name.first_chunk(), name.last_chunk()) {
            (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
            _ => return None,
        },
        4..=7 => match (name.first_chunk(), name.last_chunk()) {
            (Some(first), Some(last)) => (u32::from_le_bytes(*first) as u64, u32::from_le_bytes(*last) as u64),
            _ => return None,
        },
        2..=3 => match (name.first_chunk(), name.last_chunk()) {
            (Some(first), Some(last)) => (u16::from_le_bytes(*first) as u64, u16::from_le_bytes(*last) as u64),
            _ => return None,
        },
        _ => return None,
    };
    Some((first | LOWER, last | LOWER))
}

/// The words of a command's own name, which must be lower-case letters only: the fold is exact for nothing else.
const fn words_of_command(name: &[u8]) -> (u64, u64) {
    let mut at = 0;
    while at < name.len() {
        assert!(name[at].is_ascii_lowercase());
        at += 1;
    }
    match words(name) {
        Some(words) => words,
        None => panic!("a command's name has 2 to 16 letters"),
    }
}
