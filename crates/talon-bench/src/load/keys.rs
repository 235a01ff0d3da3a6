//! Which key and which value a request has.

use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};
use rand_distr::{Distribution, Zipf};

use super::{Keys, Kind, Load, Request};
use crate::Outcome;

/// Values begin at random places of so many bytes more than the longest, so that they differ.
const SPARE_BYTES: usize = 4096;
/// Larger than any number of keys, and prime: ranks times it, modulo the number of keys, is each key once.
const SCATTER: u128 = 11_400_714_785_074_694_791;

/// The key of a number, as `redis-benchmark -r` has it.
pub fn key(number: u64) -> [u8; 16] {
    let mut key = *b"key:000000000000";
    digits(&mut key[4..], number);
    key
}

/// The counter of a number, as `redis-benchmark -r` has it.
pub fn counter(number: u64) -> [u8; 20] {
    let mut key = *b"counter:000000000000";
    digits(&mut key[8..], number);
    key
}

/// The prefix of the keys that a scan of so many reads, from the one with this number on.
pub fn prefix(number: u64, keys: u64) -> Vec<u8> {
    // How many digits may vary so that at least so many numbers are covered.
    let digits = (0..12).find(|&digits| 10_u64.pow(digits) >= keys).unwrap_or(12) as usize;
    key(number)[..16 - digits].to_vec()
}

fn digits(into: &mut [u8], mut number: u64) {
    for digit in into.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

enum Order {
    Uniform { first: u64 },
    Zipfian(Zipf<f64>),
    Each(Arc<Vec<u32>>),
}

/// Makes the requests of one session.
pub struct Generator {
    load: Load,
    order: Order,
    random: SmallRng,
    bytes: Arc<Vec<u8>>,
}

/// Random bytes that values are cut from; one for all sessions.
pub fn value_bytes(load: &Load) -> Arc<Vec<u8>> {
    let mut bytes = vec![0; load.value_bytes + SPARE_BYTES];
    SmallRng::seed_from_u64(load.seed ^ 0x5EED).fill_bytes(&mut bytes);
    Arc::new(bytes)
}

impl Generator {
    /// For the session with this number.
    ///
    /// # Errors
    /// If the exponent is none.
    pub fn new(load: &Load, bytes: Arc<Vec<u8>>, session: u64) -> Outcome<Generator> {
        let order = match &load.order {
            Keys::Uniform => Order::Uniform { first: 0 },
            Keys::Beyond(first) => Order::Uniform { first: *first },
            Keys::Zipfian(exponent) => Order::Zipfian(Zipf::new(load.keys as f64, *exponent)?),
            Keys::Each(order) => Order::Each(order.clone()),
        };
        let seed = load.seed.wrapping_mul(1_000_003).wrapping_add(session);
        Ok(Generator { load: load.clone(), order, random: SmallRng::seed_from_u64(seed), bytes })
    }

    /// The request with this number among all of the load, as its parts: kind, key, where its value begins.
    pub fn next(&mut self, place: u64) -> (Kind, u64, usize) {
        let kind = self.load.mix.kind_at(place, self.random.next_u64());
        let number = match &self.order {
            Order::Uniform { first } => first + self.random.random_range(0..self.load.keys),
            Order::Zipfian(zipf) => {
                let rank = zipf.sample(&mut self.random) as u64;
                (u128::from(rank) * SCATTER % u128::from(self.load.keys)) as u64
            }
            Order::Each(order) => order.get(place as usize).map_or(0, |&number| number.into()),
        };
        (kind, number, self.random.random_range(0..SPARE_BYTES))
    }

    /// The request of these parts.
    pub fn request(&self, (kind, number, at): (Kind, u64, usize)) -> Request<'_> {
        Request { kind, number, value: &self.bytes[at..at + self.load.value_bytes], scan_keys: self.load.scan_keys }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Limit, Mix};

    #[test]
    fn keys_are_those_of_redis_benchmark() {
        assert_eq!(&key(42), b"key:000000000042");
        assert_eq!(&counter(999_999_999_999), b"counter:999999999999");
        assert_eq!(prefix(1234, 100), b"key:0000000012");
        assert_eq!(prefix(1234, 1), key(1234));
    }

    #[test]
    fn zipfian_keys_are_scattered_and_some_are_hot() {
        let load = Load { order: Keys::Zipfian(0.99), ..Load::new(Mix::only(Kind::Get), 10_000, Limit::Requests(1)) };
        let mut generator = Generator::new(&load, value_bytes(&load), 3).unwrap();
        let mut seen = vec![0; 10_000];
        for place in 0..100_000 {
            seen[generator.next(place).1 as usize] += 1;
        }
        let hottest = seen.iter().enumerate().max_by_key(|(_, count)| **count).unwrap();
        assert!(*hottest.1 > 5_000, "{hottest:?}");
        assert!(hottest.0 > 100, "the hottest key is not one of the first: {hottest:?}");
        assert!(seen.iter().filter(|count| **count > 0).count() > 5_000);
    }
}
