//! Registers: SET and GET on a few keys, with values that come once.

use std::sync::Arc;
use std::time::Duration;

use talon_core::random::SplitMix64;
use talon_history::Action;

use crate::client::Client;
use crate::world::World;

/// Until the world ends.
pub async fn run(world: Arc<World>, number: u32) {
    let mut random = SplitMix64(world.plan.seed.rotate_left(7) ^ u64::from(number));
    let mut client = Client::new(world.clone(), number, random.draw());
    let mut written = 0;
    while !world.is_over() {
        let key = format!("r:{}", random.draw() % world.plan.keys);
        if random.draw() % 2 == 0 {
            written += 1;
            client.carry_out(Action::set(&*key, &*format!("{number}.{written}"))).await;
        } else {
            client.carry_out(Action::get(&*key)).await;
        }
        tokio::time::sleep(Duration::from_millis(random.draw() % 50)).await;
    }
}
