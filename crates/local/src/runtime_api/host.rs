//! The Runtime API itself: HTTP on loopback, for the life of one process.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use freshjoin_core::time::Timestamp;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::http::response::Builder;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::function::InvokeError;

type Answer = Result<Bytes, InvokeError>;

#[derive(Debug)]
struct Invocation {
    id: String,
    event: Bytes,
    deadline: Timestamp,
}

/// Serves until it is dropped.
#[derive(Debug)]
pub(super) struct Host {
    address: SocketAddr,
    todo: mpsc::UnboundedSender<Invocation>,
    server: Mutex<Option<AbortHandle>>,
    shared: Arc<Shared>,
    next: AtomicU64,
}

#[derive(Debug)]
struct Shared {
    queue: AsyncMutex<mpsc::UnboundedReceiver<Invocation>>,
    waiting: Mutex<Waiting>,
    init_error: Mutex<Option<String>>,
}

/// Who waits for answers, and why none will come any more.
#[derive(Debug, Default)]
struct Waiting {
    answers: HashMap<String, oneshot::Sender<Answer>>,
    closed: Option<String>,
}

impl Host {
    pub(super) async fn bind() -> io::Result<Arc<Self>> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (todo, queue) = mpsc::unbounded_channel();
        let shared =
            Arc::new(Shared { queue: AsyncMutex::new(queue), waiting: Mutex::default(), init_error: Mutex::default() });
        let server = Mutex::new(Some(tokio::spawn(serve(listener, shared.clone())).abort_handle()));
        Ok(Arc::new(Self { address, todo, server, shared, next: AtomicU64::new(1) }))
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn init_error(&self) -> Option<String> {
        lock(&self.shared.init_error).clone()
    }

    pub(super) fn is_closed(&self) -> bool {
        lock(&self.shared.waiting).closed.is_some()
    }

    /// Ends every invocation under way and refuses later ones: the process is gone.
    pub(super) fn close(&self, reason: String) {
        let mut waiting = lock(&self.shared.waiting);
        for (_, waiting) in waiting.answers.drain() {
            // Whoever no longer waits needs no answer.
            drop(waiting.send(Err(InvokeError::Exited(reason.clone()))));
        }
        waiting.closed = Some(reason);
    }

    pub(super) async fn invoke(&self, event: Bytes, deadline: Timestamp) -> Answer {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        // The shape of a UUID, as runtimes may expect it.
        let id = format!("00000000-0000-4000-8000-{number:012x}");
        let (answer, answered) = oneshot::channel();
        {
            let mut waiting = lock(&self.shared.waiting);
            if let Some(reason) = &waiting.closed {
                return Err(InvokeError::Exited(reason.clone()));
            }
            waiting.answers.insert(id.clone(), answer);
        }
        let gone = || InvokeError::Exited("the Runtime API is closed".into());
        self.todo.send(Invocation { id, event, deadline }).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(server) = lock(&self.server).take() {
            server.abort();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((connection, _)) = listener.accept().await else { continue };
        let shared = shared.clone();
        tokio::spawn(async move {
            let service = hyper::service::service_fn(|request| {
                let shared = shared.clone();
                async move { Ok::<_, Infallible>(shared.handle(request).await) }
            });
            let served =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(connection), service).await;
            if let Err(error) = served {
                // A function that was killed leaves its connection broken.
                tracing::debug!(%error, "a connection to the Runtime API ended");
            }
        });
    }
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Failure {
    error_type: String,
    error_message: String,
}

impl Shared {
    async fn handle(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        match (method, parts.as_slice()) {
            (Method::GET, [_, "runtime", "invocation", "next"]) => self.next().await,
            // An extension waits for events; none come.
            (Method::GET, [_, "extension", "event", "next"]) => std::future::pending().await,
            (Method::POST, [_, "extension", "register"]) => {
                let registered = r#"{"functionName":"local","functionVersion":"$LATEST","handler":"bootstrap"}"#;
                let identifier = "00000000-0000-4000-8000-000000000000";
                let builder = Response::builder().header("Lambda-Extension-Identifier", identifier);
                reply(builder, StatusCode::OK, registered.into())
            }
            (Method::POST, [_, "runtime", "init", "error"]) => {
                let body = self.body(request).await;
                *lock(&self.init_error) = Some(String::from_utf8_lossy(&body).into_owned());
                accepted()
            }
            (Method::POST, [_, "runtime", "invocation", id, "response"]) => {
                let body = self.body(request).await;
                self.answer(id, Ok(body))
            }
            (Method::POST, [_, "runtime", "invocation", id, "error"]) => {
                let body = self.body(request).await;
                let failure: Failure = serde_json::from_slice(&body).unwrap_or_default();
                self.answer(id, Err(InvokeError::Thrown { kind: failure.error_type, message: failure.error_message }))
            }
            _ => reply(Response::builder(), StatusCode::NOT_FOUND, "{}".into()),
        }
    }

    async fn next(&self) -> Response<Full<Bytes>> {
        let Some(invocation) = self.queue.lock().await.recv().await else { return std::future::pending().await };
        let builder = Response::builder()
            .header("Lambda-Runtime-Aws-Request-Id", invocation.id)
            .header("Lambda-Runtime-Deadline-Ms", invocation.deadline.millis())
            .header("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:000000000000:function:local")
            .header("Lambda-Runtime-Trace-Id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0");
        reply(builder, StatusCode::OK, invocation.event)
    }

    async fn body(&self, request: Request<Incoming>) -> Bytes {
        match request.into_body().collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => {
                tracing::debug!(%error, "a body did not arrive whole");
                Bytes::new()
            }
        }
    }

    fn answer(&self, id: &str, answer: Answer) -> Response<Full<Bytes>> {
        if let Some(waiting) = lock(&self.waiting).answers.remove(id) {
            // The invocation was given up meanwhile.
            drop(waiting.send(answer));
        }
        accepted()
    }
}

fn accepted() -> Response<Full<Bytes>> {
    reply(Response::builder(), StatusCode::ACCEPTED, r#"{"status":"OK"}"#.into())
}

fn reply(builder: Builder, status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let built = builder.status(status).header("Content-Type", "application/json").body(Full::new(body));
    // The headers are all plain text; were one not, the function sees an empty answer and ends.
    built.unwrap_or_default()
}
