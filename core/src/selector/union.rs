//! Unions as parts that do not overlap.
//!
//! A union of many overlapping ranges would cost its watcher an entry in the index for each of
//! them, and each event a look at all of them. So overlapping parts are merged once, when the union
//! is made: sorted by their first keys, no two of them match the same key.

use std::mem;
use std::sync::Arc;

use crate::selector::Part;

/// A part that matches more than one key: its first key, and the end of its keys if they have one.
struct Span {
    part: Part,
    end: Option<Vec<u8>>,
}

impl Span {
    fn new(part: Part) -> Self {
        let end = match &part {
            Part::Prefix(prefix) => successor(prefix),
            Part::Range(bounds) => Some(bounds.1.to_vec()),
            Part::From(_) | Part::All => None,
            Part::Exact(_) => unreachable!("an exact key is no span"),
        };
        Self { part, end }
    }

    /// Takes in a span that starts in this one. Both keep their kinds if one contains the other.
    fn merge(&mut self, other: Self) {
        let is_longer = match (&self.end, &other.end) {
            (Some(own), Some(other)) => other > own,
            (own, None) => own.is_some(),
            (None, Some(_)) => false,
        };
        if !is_longer {
            return;
        }
        let start = self.part.start();
        self.part = if start == other.part.start() {
            other.part
        } else {
            match &other.end {
                Some(end) => Part::Range(Arc::new((start.into(), end.as_slice().into()))),
                None => Part::from_start(start),
            }
        };
        self.end = other.end;
    }
}

/// The first key above every key with this prefix.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte < u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// The part that may match `key`, of parts that are sorted and do not overlap.
pub(crate) fn candidate<'a>(parts: &'a [Part], key: &[u8]) -> Option<&'a Part> {
    let above = parts.partition_point(|part| part.start() <= key);
    parts[..above].last()
}

/// Merges overlapping parts, and sorts them. No part may be an empty range.
pub(crate) fn merge(parts: Vec<Part>) -> Vec<Part> {
    let is_exact = |part: &Part| matches!(part, Part::Exact(_));
    let (exact, wide): (Vec<_>, Vec<_>) = parts.into_iter().partition(is_exact);
    let mut spans: Vec<Span> = wide.into_iter().map(Span::new).collect();
    // A prefix comes before a range of the same keys, so that the order of the parts does not matter.
    let order = |span: &Span| !matches!(span.part, Part::Prefix(_));
    spans.sort_by(|one, two| {
        let starts = one.part.start().cmp(two.part.start());
        starts.then_with(|| order(one).cmp(&order(two)))
    });
    let mut merged: Vec<Span> = Vec::new();
    for span in spans {
        match merged.last_mut() {
            Some(last) if last.part.matches(span.part.start()) => last.merge(span),
            _ => merged.push(span),
        }
    }
    let mut parts: Vec<Part> = merged.into_iter().map(|span| span.part).collect();
    let spans = mem::take(&mut parts);
    let is_covered =
        |key: &[u8]| candidate(&spans, key).is_some_and(|candidate| candidate.matches(key));
    parts.extend(exact.into_iter().filter(|part| !is_covered(part.start())));
    parts.extend(spans);
    parts.sort_unstable_by(|one, two| one.start().cmp(two.start()));
    parts.dedup();
    parts
}

#[cfg(all(test, not(any(kvwatch_loom, kvwatch_shuttle))))]
mod tests {
    use crate::Selector;

    fn merged(selectors: impl IntoIterator<Item = Selector>) -> String {
        format!("{:?}", Selector::any(selectors))
    }

    #[test]
    fn overlapping_parts_are_merged_and_others_kept() {
        let [exact, prefix, from] = [Selector::exact, Selector::prefix, Selector::from_key];
        let range = |start: &'static str, end: &'static str| Selector::range(start..end);
        let cases = [
            (
                vec![exact("b"), exact("a"), exact("b")],
                r#"any([exact("a"), exact("b")])"#,
            ),
            (vec![exact("ab"), prefix("a")], r#"prefix("a")"#),
            (
                vec![prefix("ab"), prefix("a"), prefix("b")],
                r#"any([prefix("a"), prefix("b")])"#,
            ),
            (vec![range("b", "d"), range("a", "c")], r#"range("a".."d")"#),
            (vec![range("a", "d"), range("b", "c")], r#"range("a".."d")"#),
            // They touch, but do not overlap.
            (
                vec![range("a", "b"), range("b", "c")],
                r#"any([range("a".."b"), range("b".."c")])"#,
            ),
            (vec![prefix("a"), range("aa", "c")], r#"range("a".."c")"#),
            (vec![range("a", "b"), prefix("a")], r#"prefix("a")"#),
            (vec![prefix("a"), range("a", "b")], r#"prefix("a")"#),
            (vec![prefix("a"), range("a", "c")], r#"range("a".."c")"#),
            (
                vec![from("m"), range("c", "n"), exact("a")],
                r#"any([exact("a"), from_key("c")])"#,
            ),
            (vec![range("", "b"), from("a")], "all()"),
            (vec![exact(""), Selector::all(), prefix("x")], "all()"),
            (
                vec![prefix("\u{7f}"), exact("")],
                r#"any([exact(""), prefix("\x7f")])"#,
            ),
        ];
        for (parts, expected) in cases {
            assert_eq!(merged(parts), expected);
        }
        let top = merged([
            Selector::prefix([0xff]),
            Selector::range(&[1][..]..&[0xff, 1]),
        ]);
        assert_eq!(top, r#"from_key("\x01")"#);
    }
}
