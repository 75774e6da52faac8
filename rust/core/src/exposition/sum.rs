//! Several processes' metrics as one process would tell them.
//!
//! INVARIANT: a counter never falls when a process ends, if what that process last told is kept.

use std::collections::HashMap;
use std::io::Write;

/// One text for several of the same sidecar: counters and histograms are added up, and so are the gauges named in
/// `added`; any other gauge is told as the first text that has it does. Of the texts in `past`, whose processes have
/// ended, only counters and histograms count.
///
/// The texts are ours: `# HELP` and `# TYPE` before a family's samples, no time stamps. A line that is not so is left
/// out.
#[must_use]
pub fn sum<'a>(present: &[&'a [u8]], past: &[&'a [u8]], added: &[&[u8]]) -> Vec<u8> {
    let mut sum = Sum::default();
    for text in present {
        sum.take(text, added, true);
    }
    for text in past {
        sum.take(text, added, false);
    }
    sum.text()
}

#[derive(Default)]
struct Sum<'a> {
    families: Vec<Family<'a>>,
    by_name: HashMap<&'a [u8], usize>,
}

struct Family<'a> {
    help: &'a [u8],
    kind: &'a [u8],
    adds: bool,
    /// Whether all its samples are of one text, and so of different names.
    fresh: bool,
    samples: Vec<(&'a [u8], Number)>,
    /// Where each sample is, as far as anybody had to ask.
    by_series: HashMap<&'a [u8], usize>,
}

#[derive(Clone, Copy, Debug)]
enum Number {
    Whole(u64),
    Real(f64),
}

impl<'a> Sum<'a> {
    fn take(&mut self, text: &'a [u8], added: &[&[u8]], present: bool) {
        let mut help: &[u8] = b"";
        let mut open = None;
        // Processes of one configuration mostly have the same series in the same order.
        let mut next = 0;
        for line in text.split(|byte| *byte == b'\n') {
            if line.starts_with(b"# HELP ") {
                help = line;
            } else if let Some(named) = line.strip_prefix(b"# TYPE ") {
                open = self.family(named, help, line, added, present);
                next = 0;
            } else if let (Some(family), Some((series, number))) =
                (open.and_then(|at| self.families.get_mut(at)), sample(line))
            {
                next = family.add(series, number, next) + 1;
            }
        }
    }

    /// Where the family is whose `# TYPE` line this is; None if its samples are not wanted.
    fn family(
        &mut self,
        named: &'a [u8],
        help: &'a [u8],
        kind: &'a [u8],
        added: &[&[u8]],
        present: bool,
    ) -> Option<usize> {
        let name = named.split(|byte| *byte == b' ').next()?;
        let gauge = named.ends_with(b" gauge");
        if gauge && !present {
            return None;
        }
        let at = *self.by_name.entry(name).or_insert(self.families.len());
        if at == self.families.len() {
            self.families.push(Family {
                help,
                kind,
                adds: !gauge || added.contains(&name),
                fresh: true,
                samples: Vec::new(),
                by_series: HashMap::new(),
            });
        } else if let Some(known) = self.families.get_mut(at) {
            known.fresh = false;
        }
        Some(at)
    }

    fn text(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for family in &self.families {
            for line in [family.help, family.kind] {
                out.extend_from_slice(line);
                out.push(b'\n');
            }
            for (series, number) in &family.samples {
                out.extend_from_slice(series);
                // Writing to memory does not fail.
                let _ = match number {
                    Number::Whole(value) => writeln!(out, " {value}"),
                    Number::Real(value) => writeln!(out, " {value}"),
                };
            }
        }
        out
    }
}

impl<'a> Family<'a> {
    /// Where a series is, or would come.
    fn find(&mut self, series: &[u8]) -> usize {
        let known = self.by_series.len();
        for (at, (name, _)) in self.samples.iter().enumerate().skip(known) {
            self.by_series.insert(name, at);
        }
        self.by_series
            .get(series)
            .copied()
            .unwrap_or(self.samples.len())
    }

    /// Takes in one sample that is likely at `next`; where it was.
    fn add(&mut self, series: &'a [u8], number: Number, next: usize) -> usize {
        let there = self
            .samples
            .get(next)
            .is_some_and(|(known, _)| *known == series);
        let at = if there {
            next
        } else if self.fresh {
            self.samples.len()
        } else {
            self.find(series)
        };
        match self.samples.get_mut(at) {
            None => self.samples.push((series, number)),
            Some((_, sum)) if self.adds => *sum = sum.plus(number),
            Some(_) => {}
        }
        at
    }
}

impl Number {
    fn plus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Whole(one), Self::Whole(two)) => Self::Whole(one.saturating_add(two)),
            (one, two) => Self::Real(one.real() + two.real()),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "Prometheus keeps no more of it")]
    fn real(self) -> f64 {
        match self {
            Self::Whole(value) => value as f64,
            Self::Real(value) => value,
        }
    }
}

/// A sample's name with its labels, and its value.
fn sample(line: &[u8]) -> Option<(&[u8], Number)> {
    let space = line.iter().rposition(|byte| *byte == b' ')?;
    let (series, value) = (line.get(..space)?, line.get(space + 1..)?);
    let value = std::str::from_utf8(value).ok()?;
    let number = match value.parse() {
        Ok(whole) => Number::Whole(whole),
        Err(_) => Number::Real(value.parse().ok()?),
    };
    Some((series, number))
}

#[cfg(test)]
mod tests {
    use super::sum;

    const ONE: &[u8] = b"# HELP d_total D.\n# TYPE d_total counter\nd_total{tool=\"a b\"} 3\nd_total{tool=\"c\"} 1\n\
        # HELP s_seconds S.\n# TYPE s_seconds histogram\ns_seconds_bucket{le=\"+Inf\"} 2\ns_seconds_count 2\n\
        s_seconds_sum 0.25\n# HELP open O.\n# TYPE open gauge\nopen 2\n# HELP ratio R.\n# TYPE ratio gauge\nratio 0.5\n";
    const TWO: &[u8] = b"# HELP d_total D.\n# TYPE d_total counter\nd_total{tool=\"c\"} 4\nd_total{tool=\"e\"} 18446744073709551615\n\
        # HELP s_seconds S.\n# TYPE s_seconds histogram\ns_seconds_bucket{le=\"+Inf\"} 5\ns_seconds_count 5\n\
        s_seconds_sum 0.5\n# HELP open O.\n# TYPE open gauge\nopen 1\n# HELP ratio R.\n# TYPE ratio gauge\nratio 0.75\n";

    fn lines(text: &[u8]) -> Vec<&str> {
        let text = std::str::from_utf8(text).unwrap_or_default();
        text.lines().filter(|line| !line.starts_with('#')).collect()
    }

    #[test]
    fn one_text_stays_as_it_is() {
        assert_eq!(sum(&[ONE], &[], &[]), ONE);
        assert_eq!(sum(&[], &[], &[]), b"");
    }

    #[test]
    fn counts_add_up_and_of_what_is_shared_the_first_tells() {
        let expected = [
            "d_total{tool=\"a b\"} 3",
            "d_total{tool=\"c\"} 5",
            "d_total{tool=\"e\"} 18446744073709551615",
            "s_seconds_bucket{le=\"+Inf\"} 7",
            "s_seconds_count 7",
            "s_seconds_sum 0.75",
            "open 3",
            "ratio 0.5",
        ];
        assert_eq!(lines(&sum(&[ONE, TWO], &[], &[b"open"])), expected);
        let there_and_back = sum(&[ONE, TWO, ONE], &[], &[b"open"]);
        assert_eq!(
            lines(&there_and_back).get(..2),
            Some(&["d_total{tool=\"a b\"} 6", "d_total{tool=\"c\"} 6"][..])
        );
    }

    #[test]
    fn what_has_ended_keeps_its_counts_and_does_nothing() {
        let told = sum(&[ONE], &[TWO], &[b"open"]);
        assert!(lines(&told).contains(&"d_total{tool=\"c\"} 5"));
        assert!(lines(&told).contains(&"open 2"));
        let kept = sum(&[], &[ONE], &[b"open"]);
        assert!(!kept.windows(5).any(|bytes| bytes == b"ratio"));
    }

    #[test]
    fn what_is_no_sample_is_left_out() {
        let odd = b"d_total 1\n# HELP d_total D.\n# TYPE d_total counter\nd_total\nd_total x\nd_total \xff\nd_total 2";
        assert_eq!(lines(&sum(&[odd], &[], &[])), ["d_total 2"]);
    }
}
