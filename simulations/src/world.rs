//! A first world: three nodes, one client that writes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::ambient;
use crate::host::{Process, name};
use crate::ledger::SharedLedger;
use crate::machine::{Machine, PowerLoss};

/// Runs it.
pub fn run(seed: u64, minutes: u64, folder: &Path) -> Result<SharedLedger, Box<dyn std::error::Error>> {
    let ledger = SharedLedger::default();
    let mut sim = turmoil::Builder::new()
        .tick_duration(Duration::from_millis(1))
        .min_message_latency(Duration::from_micros(100))
        .max_message_latency(Duration::from_millis(5))
        .simulation_duration(Duration::from_secs(minutes * 60 + 600))
        .tcp_capacity(16_384)
        .rng_seed(seed)
        .build();
    let founders = [1, 2, 3];
    let mut processes = Vec::new();
    for id in founders {
        let machine = Machine::new(&folder.join(name(id)), seed ^ id);
        let process = Arc::new(Process::new(id, machine, &founders, ledger.clone(), |settings| {
            settings.log_segment_bytes = 64 << 10;
            settings.log_bytes_before_checkpoint = 64 << 10;
            settings.log_bytes_max = 128 << 10;
        }));
        processes.push(process.clone());
        sim.host(name(id), move || {
            let process = process.clone();
            async move {
                process.run().await;
                Ok(())
            }
        });
    }
    sim.client("client", async move {
        let mut at = 1u64;
        let mut number = 0u64;
        let mut acknowledged = 0u64;
        loop {
            let Ok(Ok(mut socket)) = tokio::time::timeout(
                Duration::from_secs(1),
                crate::machine::connect(&name(at), crate::host::RESP_PORT, Arc::default()),
            )
            .await
            else {
                at = at % 3 + 1;
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            loop {
                number += 1;
                let value = format!("value-{number}");
                let command = format!("*3\r\n$3\r\nSET\r\n$5\r\nkey-{}\r\n${}\r\n{value}\r\n", number % 10, value.len());
                let mut buffer = [0; 256];
                let answer = tokio::time::timeout(Duration::from_secs(2), async {
                    socket.write_all(command.as_bytes()).await?;
                    socket.read(&mut buffer).await
                })
                .await;
                match answer {
                    Ok(Ok(count)) if count > 0 && buffer.starts_with(b"+OK") => acknowledged += 1,
                    other => {
                        tracing::info!(?other, text = %String::from_utf8_lossy(&buffer).trim_matches('\0'), "refused");
                        at = at % 3 + 1;
                        break;
                    }
                }
                if number % 1000 == 0 {
                    println!("{} ms: {acknowledged} acknowledged", ambient::elapsed_us() / 1000);
                }
            }
        }
    });
    let end = Duration::from_secs(minutes * 60);
    let mut next_fault = Duration::from_secs(10);
    let mut which = 0;
    while sim.elapsed() < end {
        sim.step()?;
        ambient::advance_to(sim.elapsed().as_micros() as u64);
        for process in &processes {
            if let Some(why) = process.ended() {
                println!("{:?} node {} ended: {why}", sim.elapsed(), process.id);
                process.machine.disks.lose(PowerLoss::Process);
                sim.crash(name(process.id));
                process.gone();
                sim.bounce(name(process.id));
            }
        }
        if sim.elapsed() >= next_fault {
            next_fault += Duration::from_secs(10);
            let process = &processes[which % 3];
            which += 1;
            process.machine.disks.lose(PowerLoss::Machine);
            sim.crash(name(process.id));
            process.gone();
            sim.bounce(name(process.id));
        }
    }
    Ok(ledger)
}
