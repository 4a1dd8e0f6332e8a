//! The size of the workloads.

/// How much work each round does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    pub(crate) quick: bool,
}

impl Scale {
    /// The count, or a tenth of it in a quick run.
    pub(super) fn of(self, count: usize) -> usize {
        if self.quick { count / 10 } else { count }
    }

    /// The numbers of watchers that this scale allows.
    pub(super) fn watchers(self, counts: &[usize]) -> impl Iterator<Item = usize> {
        let max = if self.quick { 100_000 } else { usize::MAX };
        counts.iter().copied().filter(move |&count| count <= max)
    }
}

/// A count in a row's name: 1k, 1M.
pub(super) fn abbreviate(count: usize) -> String {
    match count {
        0..1000 => count.to_string(),
        1000..1_000_000 => format!("{}k", count / 1000),
        _ => format!("{}M", count / 1_000_000),
    }
}
