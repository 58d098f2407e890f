// SPDX-License-Identifier: GPL-2.0
//! `bench`: what sharing costs, at this end.

use anyhow::Context;
use anyhow::Result;
use serde_json::json;
use std::os::fd::AsRawFd;
use std::time::Duration;
use std::time::Instant;
use xen_zcopy::Memory;
use xen_zcopy::PAGE_SIZE;
use xen_zcopy::Zcopy;

/// Longest time to wait for pages to be unmapped: a safety net.
const AT_MOST: Duration = Duration::from_secs(60);

/// How to measure, and how to tell.
pub struct Bench<'a> {
    pub zcopy: &'a Zcopy,
    /// Sizes of buffers, in pages.
    pub sizes: &'a [usize],
    /// How often each is shared.
    pub rounds: u32,
    pub json: bool,
}

impl Bench<'_> {
    /// Grants memory to a domain, and revokes that.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn granting(&self, to: u16) -> Result<()> {
        for pages in self.sizes.iter().copied() {
            let memory = Memory::new(pages * PAGE_SIZE).context("/dev/udmabuf")?;
            self.measure(pages, ["to-refs", "release"], || {
                let start = Instant::now();
                self.zcopy.to_refs(&memory.dmabuf, to, pages)?;
                let granted = Instant::now();
                self.zcopy.release(memory.dmabuf.as_raw_fd())?;
                Ok([granted - start, granted.elapsed()])
            })
            .with_context(|| format!("granting {pages} pages to domain {to}"))?;
        }
        Ok(())
    }

    /// Makes dma-bufs of the first of what a domain has granted, and lets them go. Sizes that there are not enough references for are left
    /// out.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn mapping(&self, from: u16, refs: &[u32]) -> Result<()> {
        let enough = self.sizes.iter().filter_map(|pages| refs.get(..*pages));
        for refs in enough {
            let pages = refs.len();
            self.measure(pages, ["from-refs", "close"], || {
                let start = Instant::now();
                let dmabuf = self.zcopy.from_refs(from, refs)?;
                let mapped = Instant::now();
                let fd = dmabuf.as_raw_fd();
                drop(dmabuf);
                self.zcopy.wait_released(fd, AT_MOST)?;
                Ok([mapped - start, mapped.elapsed()])
            })
            .with_context(|| format!("a dma-buf of {pages} pages of domain {from}"))?;
        }
        Ok(())
    }

    /// Runs `round`, which measures two operations, and tells the median of each.
    fn measure(
        &self,
        pages: usize,
        operations: [&str; 2],
        round: impl FnMut() -> Result<[Duration; 2]>,
    ) -> Result<()> {
        let rounds: Vec<[Duration; 2]> = std::iter::repeat_with(round)
            .take(self.rounds as usize)
            .collect::<Result<_>>()?;
        for (i, operation) in operations.into_iter().enumerate() {
            let us = median(rounds.iter().map(|times| times[i]).collect()).as_secs_f64() * 1e6;
            let mb_per_s = (pages * PAGE_SIZE) as f64 / us;
            if self.json {
                let line =
                    json!({"operation": operation, "pages": pages, "us": us, "mb_per_s": mb_per_s});
                println!("{line}");
            } else {
                println!("{operation:<10} {pages:>6} pages {us:>10.1} us {mb_per_s:>10.1} MB/s");
            }
        }
        Ok(())
    }
}

/// The middle one; of an even number, the longer.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::median;
    use std::time::Duration;

    #[test]
    fn the_median_is_the_middle_one() {
        let ms = Duration::from_millis;
        assert_eq!(median(vec![ms(9), ms(1), ms(5)]), ms(5));
        assert_eq!(median(vec![ms(7), ms(1)]), ms(7));
        assert_eq!(median(vec![]), ms(0));
    }
}
