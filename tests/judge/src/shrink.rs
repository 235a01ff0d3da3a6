//! From a long sequence that is answered otherwise to a short one.

use std::io;
use std::time::{Duration, Instant};

use crate::{Mismatch, Pair, Step};

/// How long the search may take.
const SEARCH_MAX: Duration = Duration::from_secs(60);

/// The shortest sequence found that is still answered otherwise, and how. `steps` is known to be.
///
/// # Errors
/// If a server does not answer.
pub fn shrink(pair: &Pair, steps: &[Step], mismatch: Mismatch, resp3: bool) -> io::Result<(Vec<Step>, Mismatch)> {
    let end = Instant::now() + SEARCH_MAX;
    // What comes after the command that differs has no part in it, but it may be sent together with it.
    let mut best = (steps[..=mismatch.place].to_vec(), mismatch);
    let try_steps = |steps: Vec<Step>, best: &mut (Vec<Step>, Mismatch)| -> io::Result<bool> {
        let Err(found) = pair.run(&steps, resp3)? else { return Ok(false) };
        let mut steps = steps;
        steps.truncate(found.place + 1);
        *best = (steps, found);
        Ok(true)
    };
    // Often the last few commands are enough.
    let mut length = 1;
    while length < best.0.len() {
        let tail = best.0[best.0.len() - length..].to_vec();
        if try_steps(tail, &mut best)? {
            break;
        }
        length *= 4;
    }
    // Then pieces are left out, ever smaller ones.
    let mut piece = best.0.len() / 2;
    while piece > 0 && Instant::now() < end {
        let mut start = 0;
        let mut shorter = false;
        while start < best.0.len() && Instant::now() < end {
            let stop = (start + piece).min(best.0.len());
            let without = [&best.0[..start], &best.0[stop..]].concat();
            if !without.is_empty() && try_steps(without, &mut best)? {
                shorter = true;
            } else {
                start = stop;
            }
        }
        if !shorter || piece > 1 {
            piece /= 2;
        }
    }
    // At last, whether the way of sending matters.
    let plain: Vec<Step> = best.0.iter().map(|step| Step { joined: false, inline: false, ..step.clone() }).collect();
    if plain != best.0 {
        try_steps(plain, &mut best)?;
    }
    Ok(best)
}
