//! The endpoints that a monitor and an orchestrator ask.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::registry::Telemetry;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// Far more than a monitor sends.
const MAX_REQUEST_BYTES: usize = 16 << 10;
/// How long a connection may take, from its first byte to the last of the answer.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the end of the process waits for answers that are under way.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// Connections at a time; further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 64;
/// How long to wait after the system would not accept a connection (it has no file descriptors left).
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Serves `/metrics`, `/health/live` and `/health/ready`, one request a connection.
pub struct HttpServer {
    listener: TcpListener,
    address: SocketAddr,
    telemetry: Arc<Telemetry>,
}

/// Why nothing can be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve metrics on {address}: {source}")]
pub struct HttpError {
    /// The address that was asked for.
    pub address: String,
    /// What the system said.
    pub source: io::Error,
}

impl HttpServer {
    /// Listens on `address` (`127.0.0.1:9598`); port 0 takes any that is free.
    ///
    /// # Errors
    /// The address is none, not of this machine, or taken.
    pub async fn bind(address: &str, telemetry: Arc<Telemetry>) -> Result<Self, HttpError> {
        let failed = |source| HttpError { address: address.to_owned(), source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, telemetry })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stopped` completes; who has asked by then gets another second.
    pub async fn serve(self, stopped: impl Future<Output = ()>) {
        let mut stopped = std::pin::pin!(stopped);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = &mut stopped => break,
                Some(_) = connections.join_next() => {}
                accepted = self.listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(answer(stream, Arc::clone(&self.telemetry)));
                    }
                    Err(error) => {
                        tracing::debug!(%error, "a connection cannot be accepted");
                        tokio::time::sleep(ACCEPT_AGAIN).await;
                    }
                },
            }
        }
        drop(self.listener);
        let last_answers = async { while connections.join_next().await.is_some() {} };
        // Who is slower than that gets no answer.
        let _ = tokio::time::timeout(LAST_ANSWERS, last_answers).await;
    }
}

async fn answer(stream: TcpStream, telemetry: Arc<Telemetry>) {
    let service = service_fn(move |request| {
        let response = respond(&request, &telemetry);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(CONNECTION_TIMEOUT)
        .max_buf_size(MAX_REQUEST_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a request cannot be answered"),
        Err(_) => tracing::debug!("a request took too long"),
    }
}

fn respond(request: &Request<Incoming>, telemetry: &Telemetry) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let known = matches!(path, "/metrics" | "/health/live" | "/health/ready");
    if known && !matches!(*request.method(), Method::GET | Method::HEAD) {
        let text = "only GET and HEAD are answered\n".to_owned();
        let mut response = response(StatusCode::METHOD_NOT_ALLOWED, TEXT, text);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        "/metrics" => match telemetry.openmetrics() {
            Ok(text) => response(StatusCode::OK, OPENMETRICS, text),
            Err(error) => response(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
        },
        "/health/live" => response(StatusCode::OK, TEXT, "ok\n".to_owned()),
        "/health/ready" => {
            let readiness = telemetry.readiness();
            let code = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            match serde_json::to_string(&readiness) {
                Ok(json) => response(code, JSON, json + "\n"),
                Err(error) => response(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
            }
        }
        _ => {
            let text = "there are /metrics, /health/live and /health/ready\n".to_owned();
            response(StatusCode::NOT_FOUND, TEXT, text)
        }
    }
}

fn response(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use tokio::sync::oneshot;

    use super::*;
    use crate::telemetry::Health;

    /// A server on a thread of its own, stopped and waited for when the value goes.
    struct Served {
        address: SocketAddr,
        telemetry: Arc<Telemetry>,
        stop: Option<oneshot::Sender<()>>,
        thread: Option<std::thread::JoinHandle<()>>,
    }

    impl Served {
        fn new() -> Self {
            let telemetry = Arc::new(Telemetry::new());
            let (stop, stopped) = oneshot::channel::<()>();
            let (tell, address) = std::sync::mpsc::channel();
            let served = Arc::clone(&telemetry);
            let thread = std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let server = HttpServer::bind("127.0.0.1:0", served).await.unwrap();
                    tell.send(server.address()).unwrap();
                    server.serve(async { drop(stopped.await) }).await;
                });
            });
            let address = address.recv().unwrap();
            Self { address, telemetry, stop: Some(stop), thread: Some(thread) }
        }

        /// Status line with headers, and body.
        fn ask(&self, request: &str) -> (String, String) {
            let mut stream = TcpStream::connect(self.address).unwrap();
            // What is refused is closed on before it has been read to its end.
            let _ = stream.write_all(request.as_bytes());
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer);
            let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
            (head.to_owned(), body.to_owned())
        }

        fn get(&self, path: &str) -> (String, String) {
            self.ask(&format!("GET {path} HTTP/1.1\r\nHost: here\r\n\r\n"))
        }
    }

    impl Drop for Served {
        fn drop(&mut self) {
            drop(self.stop.take());
            self.thread.take().unwrap().join().unwrap();
        }
    }

    #[test]
    fn metrics_are_open_metrics() {
        let served = Served::new();
        served.telemetry.pipeline("ecg").messages_in(3);
        let (head, body) = served.get("/metrics?now");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"));
        assert!(body.contains("\nrivulet_messages_in_total{pipeline=\"ecg\"} 3\n"), "{body}");
        assert!(body.ends_with("# EOF\n"));
    }

    #[test]
    fn ready_follows_health_and_live_does_not() {
        let served = Served::new();
        let pipeline = served.telemetry.pipeline("ecg");
        pipeline.health("source", Health::Degraded("the broker is away".to_owned()));
        let (head, body) = served.get("/health/ready");
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["pipelines"]["ecg"]["components"]["source"]["reason"], "the broker is away");
        assert!(served.get("/health/live").0.starts_with("HTTP/1.1 200 "));
        pipeline.health("source", Health::Ok);
        assert!(served.get("/health/ready").0.starts_with("HTTP/1.1 200 "));
        served.telemetry.stop();
        assert!(served.get("/health/ready").0.starts_with("HTTP/1.1 503 "));
        assert!(served.get("/health/live").0.starts_with("HTTP/1.1 200 "));
    }

    #[test]
    fn other_paths_and_methods_are_told_what_there_is() {
        let served = Served::new();
        let (head, body) = served.get("/");
        assert!(head.starts_with("HTTP/1.1 404 ") && body.contains("/health/ready"), "{head} {body}");
        let (head, _) = served.ask("DELETE /metrics HTTP/1.1\r\nHost: here\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 405 ") && head.contains("allow: GET, HEAD"), "{head}");
        let (head, body) = served.ask("HEAD /metrics HTTP/1.1\r\nHost: here\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 200 ") && body.is_empty(), "{head} {body}");
    }

    #[test]
    fn nonsense_is_refused_and_the_next_is_answered() {
        let served = Served::new();
        let (head, _) = served.ask("\u{1}\u{2}\u{3} what\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
        let long = "x".repeat(MAX_REQUEST_BYTES * 4);
        let (head, _) = served.ask(&format!("GET /metrics HTTP/1.1\r\nHost: {long}\r\n\r\n"));
        assert!(!head.contains(" 200 "), "{head}");
        assert!(served.get("/health/live").0.starts_with("HTTP/1.1 200 "));
    }

    #[test]
    fn a_taken_address_is_named() {
        let served = Served::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let address = served.address.to_string();
        let bound = runtime.block_on(HttpServer::bind(&address, Arc::new(Telemetry::new())));
        let error = bound.err().unwrap().to_string();
        assert!(error.contains(&address), "{error}");
    }
}
