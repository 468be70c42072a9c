//! An IOS configuration as blocks of commands. Enters: the text, indented as a router prints it or flattened as documents show
//! it. Leaves: blocks with their settings by line number, and a first explanation of every line.

use zeroize::Zeroizing;

use super::explain::{Notes, Outcome};
use super::grammar::{COMMANDS, Effect, Key, Mode};
use super::words::{Fit, fit};

/// Most lines of a configuration.
pub(super) const MAX_LINES: usize = 200_000;
/// What stands for a secret in explanations.
const HIDDEN: &str = "***";
/// Of a line that only the imported profile's chain of references could use.
const UNREFERRED: &str = "the imported profile does not refer to it";

/// A block of commands.
#[derive(Debug)]
pub(super) struct Block {
    pub mode: Mode,
    pub name: String,
    pub line: usize,
    /// Arguments behind the name.
    pub arguments: Vec<String>,
    pub settings: Vec<Setting>,
}

/// One command in a block.
#[derive(Debug)]
pub(super) struct Setting {
    pub line: usize,
    pub key: Key,
    pub arguments: Zeroizing<Vec<String>>,
}

impl Setting {
    /// An argument; empty if there are fewer.
    pub fn argument(&self, index: usize) -> &str {
        self.arguments.get(index).map_or("", String::as_str)
    }
}

impl Block {
    pub fn all(&self, key: Key) -> impl Iterator<Item = &Setting> {
        self.settings.iter().filter(move |setting| setting.key == key)
    }

    /// The last setting of a key: on a router it replaces those before it.
    pub fn last(&self, key: Key) -> Option<&Setting> {
        self.all(key).last()
    }
}

/// A whole configuration; the first block is the global one.
#[derive(Debug)]
pub(super) struct Ios {
    pub blocks: Vec<Block>,
}

impl Ios {
    /// Settings outside of blocks.
    pub fn globals(&self, key: Key) -> impl Iterator<Item = &Setting> {
        self.blocks.iter().filter(|block| block.mode == Mode::Global).flat_map(move |block| block.all(key))
    }

    pub fn blocks(&self, mode: Mode) -> impl Iterator<Item = &Block> {
        self.blocks.iter().filter(move |block| block.mode == mode)
    }

    pub fn find(&self, mode: Mode, name: &str) -> Option<&Block> {
        self.blocks(mode).find(|block| block.name == name)
    }
}

impl Ios {
    /// `access-list NUMBER permit|deny SOURCE`: the older way to write an entry of a list, each line for itself.
    fn add_numbered_entry(&mut self, line: usize, arguments: Vec<String>) {
        let mut arguments = arguments.into_iter();
        let name = arguments.next().unwrap_or_default();
        let key = if arguments.next().as_deref() == Some("permit") { Key::Permit } else { Key::Deny };
        let setting = Setting { line, key, arguments: Zeroizing::new(arguments.collect()) };
        let known = self.blocks.iter_mut().find(|block| block.mode == Mode::AccessList && block.name == name);
        match known {
            Some(block) => block.settings.push(setting),
            None => self.blocks.push(Block {
                mode: Mode::AccessList,
                name,
                line,
                arguments: Vec::new(),
                settings: vec![setting],
            }),
        }
    }
}

/// Reads the text; every line that says something is in `notes` afterwards.
pub(super) fn parse(text: &str, notes: &mut Notes) -> Ios {
    let global = Block {
        mode: Mode::Global,
        name: String::new(),
        line: 0,
        arguments: Vec::new(),
        settings: Vec::new(),
    };
    let mut ios = Ios { blocks: vec![global] };
    let indented = text.lines().any(|line| line.starts_with([' ', '\t']) && !line.trim().is_empty());
    let mut current: Option<usize> = None;
    for (number, line) in (1usize..).zip(text.lines()).take(MAX_LINES) {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        if words.is_empty() || line.trim_start().starts_with('!') {
            continue;
        }
        notes.set(number, Some(&without_secrets(line)), Outcome::NotUnderstood, "nothing is known about it");
        let inside = line.starts_with([' ', '\t']);
        let mode = current.and_then(|block| ios.blocks.get(block)).map(|block| block.mode);
        if let Some(Mode::Certificates | Mode::Trustpoint | Mode::Keyring) = mode
            && (inside || !indented)
            && (inside || !starts_global(&words))
        {
            notes.lacks(number, opaque(mode));
            continue;
        }
        if mode == Some(Mode::AccessList) && words.first().is_some_and(|w| w.parse::<u32>().is_ok()) {
            words.remove(0);
        }
        let modes: Vec<Mode> = match (mode, indented, inside) {
            (Some(mode), true, true) => vec![mode],
            (None, true, true) => continue,
            (_, true, false) | (None, false, _) => vec![Mode::Global],
            (Some(mode), false, _) => vec![mode, Mode::Global],
        };
        match look_up(&modes, &words) {
            Ok((mode, Effect::Opens(opened), fit)) => {
                debug_assert_eq!(mode, Mode::Global);
                current = Some(ios.blocks.len());
                ios.blocks.push(open(opened, number, fit));
                notes.lacks(number, UNREFERRED);
            }
            Ok((mode, effect, fit)) => {
                if mode == Mode::Global {
                    current = None;
                }
                match effect {
                    Effect::Holds(why) => notes.holds(number, why),
                    Effect::Lacks(why) => notes.lacks(number, why),
                    Effect::Sets(Key::NumberedEntry) => {
                        notes.lacks(number, UNREFERRED);
                        ios.add_numbered_entry(number, fit.arguments);
                    }
                    Effect::Sets(key) => {
                        notes.lacks(number, UNREFERRED);
                        let setting = Setting { line: number, key, arguments: Zeroizing::new(fit.arguments) };
                        if let Some(block) = ios.blocks.get_mut(current.unwrap_or(0)) {
                            block.settings.push(setting);
                        }
                    }
                    Effect::Opens(_) => {}
                }
            }
            Err(why) => {
                notes.set(number, None, Outcome::NotUnderstood, why);
                if indented && !inside {
                    current = None;
                }
            }
        }
    }
    ios
}

/// The command that the line is. Words written in full count before abbreviations, the block's commands before the global
/// ones, the form that says more before the one that says less.
fn look_up(modes: &[Mode], words: &[&str]) -> Result<(Mode, Effect, Fit), String> {
    let mut fits: Vec<(Mode, &str, Effect, Fit)> = COMMANDS
        .iter()
        .filter(|(mode, _, _)| modes.contains(mode))
        .filter_map(|(mode, pattern, effect)| Some((*mode, *pattern, *effect, fit(pattern, words)?)))
        .collect();
    let rank = |(mode, _, _, fit): &(Mode, &str, Effect, Fit)| {
        (fit.exact, modes.first() == Some(mode), fit.keywords)
    };
    fits.sort_by_key(|candidate| std::cmp::Reverse(rank(candidate)));
    let mut fits = fits.into_iter();
    let Some(best) = fits.next() else { return Err("nothing is known about it".into()) };
    if let Some(second) = fits.next()
        && rank(&second) == rank(&best)
        && !best.3.exact
    {
        return Err(format!("the abbreviation can mean `{}` or `{}`; write it in full", best.1, second.1));
    }
    Ok((best.0, best.2, best.3))
}

fn open(mode: Mode, line: usize, fit: Fit) -> Block {
    let mut arguments = fit.arguments.into_iter();
    let mut name = arguments.next().unwrap_or_default();
    let mut arguments: Vec<String> = arguments.collect();
    if mode == Mode::Interface {
        // `Virtual-Template10 type tunnel`, or `Virtual-Template 10`.
        arguments.retain(|word| !matches!(word.as_str(), "type" | "tunnel"));
        name.extend(arguments.drain(..));
    }
    Block { mode, name, line, arguments, settings: Vec::new() }
}

/// Whether a line of flattened text ends a block whose commands are not looked into.
fn starts_global(words: &[&str]) -> bool {
    look_up(&[Mode::Global], words).is_ok_and(|(_, _, fit)| fit.exact)
}

fn opaque(mode: Option<Mode>) -> &'static str {
    match mode {
        Some(Mode::Keyring) => "pre-shared keys are written in [[auth.psk]], each for one identity",
        Some(Mode::Trustpoint) => {
            "certificates are PEM files, named in [auth]; enrolment is done by other tools"
        }
        _ => {
            "export certificate and key with `crypto pki export NAME pem terminal` and name the files in [auth]"
        }
    }
}

/// Explanations are kept and sent around; what comes behind such words does not belong there.
fn without_secrets(line: &str) -> String {
    let mut shown: Vec<&str> = Vec::new();
    let mut hide = false;
    for word in line.split_whitespace() {
        // `password 0 cisco`, `secret 9 $9$…`, `pre-shared-key local hex 1234`: the type or side is no secret.
        let plain = matches!(word, "0" | "5" | "6" | "7" | "8" | "9" | "local" | "remote" | "hex" | "key");
        shown.push(if hide && !plain { HIDDEN } else { word });
        let lower = word.to_lowercase();
        let names_secret = |keyword: &str| lower.len() >= 3 && keyword.starts_with(&lower);
        hide |= ["password", "secret", "pre-shared-key", "pre-share"].into_iter().any(names_secret);
    }
    shown.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_repeated() {
        for (line, shown) in [
            ("username test password 0 cisco", "username test password 0 ***"),
            ("username a privilege 15 secret 9 $9$x y", "username a privilege 15 secret 9 *** ***"),
            ("username test pass cisco", "username test pass ***"),
            (" authentication remote pre-share key 0 abc", "authentication remote pre-share key 0 ***"),
            ("ip local pool P 1.1.1.1", "ip local pool P 1.1.1.1"),
        ] {
            assert_eq!(without_secrets(line), shown);
        }
    }

    fn modes(text: &str) -> Vec<(Mode, usize)> {
        let ios = parse(text, &mut Notes::default());
        ios.blocks.iter().map(|block| (block.mode, block.settings.len())).collect()
    }

    #[test]
    fn indented_and_flattened_texts_are_the_same() {
        let text = "crypto ikev2 profile A\n match fvrf any\n reconnect\ncrypto ikev2 policy P\n match fvrf any\n proposal x\nhostname r\n";
        let expected = [(Mode::Global, 1), (Mode::Profile, 2), (Mode::IkePolicy, 2)];
        assert_eq!(modes(text), expected);
        assert_eq!(modes(&text.replace("\n ", "\n")), expected);
    }

    #[test]
    fn abbreviations_are_taken_if_they_mean_one_thing() {
        assert_eq!(modes("cry ikev2 prof A\nrecon time 900\n"), [(Mode::Global, 0), (Mode::Profile, 1)]);
        let mut notes = Notes::default();
        parse("crypto ikev2 pro A\n", &mut notes);
        let told = notes.finish();
        assert_eq!(told[0].outcome, Outcome::NotUnderstood);
        assert!(told[0].why.contains("can mean"), "{}", told[0].why);
    }
}
