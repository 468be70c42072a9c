//! IOS command lines against patterns. Enters: the words of a line and a pattern such as `ip local pool <name> <low> [<high>]`.
//! Leaves: the arguments, and how well it fits, so that of several patterns the right one is chosen. Keywords may be
//! abbreviated, as on a router.

/// Fewest letters of an abbreviated keyword.
const MIN_ABBREVIATION: usize = 2;

/// How a line fits a pattern.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fit {
    /// Values of `<…>`, and the full keyword where the pattern has `a|b`.
    pub arguments: Vec<String>,
    /// No keyword was abbreviated.
    pub exact: bool,
    /// Keywords in the pattern; of two patterns the one with more says more about the line.
    pub keywords: usize,
}

/// Fits a line to a pattern of: `keyword`, `one|other`, `<argument>`, `[<argument>]`, `[keyword]`, and `<...>` for any rest.
pub(super) fn fit(pattern: &str, words: &[&str]) -> Option<Fit> {
    let mut fit = Fit { arguments: Vec::new(), exact: true, keywords: 0 };
    let mut words = words.iter().copied();
    for token in pattern.split(' ') {
        if token == "<...>" {
            fit.arguments.extend(words.by_ref().map(str::to_owned));
            return Some(fit);
        }
        let (token, optional) = match token.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
            Some(inner) => (inner, true),
            None => (token, false),
        };
        let Some(word) = words.next() else {
            if optional {
                continue;
            }
            return None;
        };
        if token.starts_with('<') {
            fit.arguments.push(word.to_owned());
            continue;
        }
        let lower = word.to_lowercase();
        let choices = || token.split('|');
        let exact = choices().find(|keyword| *keyword == lower);
        let keyword = exact.or_else(|| {
            let mut possible = choices().filter(|keyword| abbreviates(&lower, keyword));
            possible.next().filter(|_| possible.next().is_none())
        })?;
        fit.exact &= exact.is_some();
        fit.keywords += 1;
        if token.contains('|') || optional {
            fit.arguments.push(keyword.to_owned());
        }
    }
    words.next().is_none().then_some(fit)
}

fn abbreviates(word: &str, keyword: &str) -> bool {
    word.len() >= MIN_ABBREVIATION && keyword.starts_with(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(pattern: &str, line: &str) -> Option<(Vec<String>, bool)> {
        let words: Vec<&str> = line.split_whitespace().collect();
        fit(pattern, &words).map(|fit| (fit.arguments, fit.exact))
    }

    #[test]
    fn lines_are_fitted() {
        let pool = "ip local pool <name> <low> [<high>]";
        for (pattern, line, expected) in [
            (pool, "ip local pool P 1.1.1.1", Some((&["P", "1.1.1.1"][..], true))),
            (pool, "ip local pool P 1.1.1.1 1.1.1.9", Some((&["P", "1.1.1.1", "1.1.1.9"], true))),
            (pool, "ip loc po P 1.1.1.1", Some((&["P", "1.1.1.1"], false))),
            (pool, "IP LOCAL POOL P 1.1.1.1", Some((&["P", "1.1.1.1"], true))),
            (pool, "ip l pool P 1.1.1.1", None),
            (pool, "ip local pool P", None),
            (pool, "ip local pool P 1 2 3", None),
            ("dpd <a> <b> on-demand|periodic", "dpd 10 2 per", Some((&["10", "2", "periodic"], false))),
            ("set a1x|a1y", "set a1", None),
            ("x [cert-request]", "x cert", Some((&["cert-request"], false))),
            ("x [cert-request]", "x", Some((&[], true))),
            ("username <name> <...>", "username u", Some((&["u"], true))),
            ("username <name> <...>", "username u a b", Some((&["u", "a", "b"], true))),
        ] {
            let expected = expected.map(|(a, exact)| (a.iter().map(|s| (*s).to_owned()).collect(), exact));
            assert_eq!(arguments(pattern, line), expected, "{pattern} / {line}");
        }
    }
}
