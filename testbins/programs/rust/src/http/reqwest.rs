//! reqwest: HTTP/1.1 or, where the server offers it, HTTP/2; a client for each connection.

use std::sync::Arc;

use reqwest::Client;

use super::Exchange;
use crate::message::Plan;
use crate::options::Options;
use crate::run::Failure;
use crate::tls;
use crate::tokio_pair::{join, runtime};

pub fn run(options: Options) -> Result<(), Failure> {
    runtime(&options)?.block_on(async {
        let options = Arc::new(options);
        let numbers = 0..options.connections;
        join(
            numbers
                .map(|number| tokio::spawn(talk(options.clone(), number)))
                .collect(),
        )
        .await
    })
}

async fn talk(options: Arc<Options>, connection: usize) -> Result<(), Failure> {
    let client = client(&options)?;
    let plan = Plan::new(&options, connection);
    for number in 0..plan.messages {
        let exchange = Exchange::new(&options, &plan, number)?;
        let request = match exchange.is_post {
            true => client.post(&exchange.url).body(exchange.body.clone()),
            false => client.get(&exchange.url),
        };
        let answer = request.send().await?.error_for_status()?.bytes().await?;
        exchange.finish(&answer)?;
    }
    Ok(())
}

fn client(options: &Options) -> Result<Client, Failure> {
    let mut config = tls::client_config(options)?;
    let protocols: &[&str] = match options.http {
        Some(1) => &["http/1.1"],
        Some(2) => &["h2"],
        _ => &["h2", "http/1.1"],
    };
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    Ok(Client::builder()
        .use_preconfigured_tls(config)
        .no_proxy()
        .build()?)
}
