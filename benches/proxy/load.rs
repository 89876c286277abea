//! Requests over keep-alive connections, for measurements.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Connections to one proxy.
pub(crate) struct Load {
    connections: Vec<Connection>,
}

/// A connection.
pub(crate) struct Connection {
    stream: TcpStream,
    /// Sent in turn.
    requests: VecDeque<Vec<u8>>,
    buffer: Vec<u8>,
}

impl Load {
    /// Opens `count` connections to `address` that share `requests`.
    pub(crate) async fn open(
        address: SocketAddr,
        count: usize,
        requests: &[Vec<u8>],
    ) -> anyhow::Result<Self> {
        let mut connections = Vec::with_capacity(count);
        for number in 0..count {
            let own = requests.iter().cycle().skip(number).step_by(count);
            let own = own.take(requests.len().div_ceil(count)).cloned();
            connections.push(Connection::open(address, own.collect()).await?);
        }
        Ok(Self { connections })
    }

    /// Median response time of sequential requests over one connection, in nanoseconds.
    pub(crate) async fn p50(&mut self, requests: usize) -> anyhow::Result<f64> {
        let connection = self.connections.first_mut().context("no connection")?;
        let mut times = Vec::with_capacity(requests);
        for _ in 0..requests {
            let asked = Instant::now();
            connection.ask().await?;
            times.push(asked.elapsed().as_nanos() as f64);
        }
        Ok(super::median(&mut times))
    }

    /// Requests per second over all connections.
    pub(crate) async fn throughput(self, turn: Duration) -> anyhow::Result<(Self, f64)> {
        let began = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for mut connection in self.connections {
            tasks.spawn(async move {
                let mut count = 0_u32;
                while began.elapsed() < turn {
                    connection.ask().await?;
                    count += 1;
                }
                anyhow::Ok((connection, count))
            });
        }
        let (mut connections, mut total) = (Vec::new(), 0);
        while let Some(done) = tasks.join_next().await {
            let (connection, count) = done??;
            connections.push(connection);
            total += count;
        }
        let rate = f64::from(total) / began.elapsed().as_secs_f64();
        Ok((Self { connections }, rate))
    }
}

impl Connection {
    /// Opens a connection that repeats `requests`.
    pub(crate) async fn open(
        address: SocketAddr,
        requests: VecDeque<Vec<u8>>,
    ) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let buffer = Vec::with_capacity(128 << 10);
        Ok(Self { stream, requests, buffer })
    }

    /// Sends the next request; the response must be a 200.
    pub(crate) async fn ask(&mut self) -> anyhow::Result<()> {
        let request = self.requests.pop_front().context("no request")?;
        let asked = self.exchange(&request).await.map(|answer| {
            let is_fine = answer.starts_with(b"HTTP/1.1 200");
            (!is_fine).then(|| String::from_utf8_lossy(answer).into_owned())
        });
        self.requests.push_back(request);
        match asked? {
            None => Ok(()),
            Some(answer) => anyhow::bail!("{answer}"),
        }
    }

    /// Sends `request`; returns the whole response with its head.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<&[u8]> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            let head = memchr::memmem::find(&self.buffer, b"\r\n\r\n").map(|at| at + 4);
            if let Some(head) = head {
                let text = self.buffer.get(..head).unwrap_or_default();
                if self.buffer.len() >= head + super::upstream::content_length(text) {
                    return Ok(&self.buffer);
                }
            }
            ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "the connection closed");
        }
    }
}
