//! Questions to one instance of one service, over the NATS micro-services protocol: `nats micro ls` shows them all.

pub mod datapath;
pub mod roll;
pub mod tracer;

use std::sync::Arc;
use std::time::Duration;

use async_nats::service::{ServiceExt, error::Error as Refusal};
use futures::StreamExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::connection::Connection;
use crate::labels::Labels;
use crate::life::{Health, Life};
use crate::subject::{CommandSubject, NodeId, ServiceName, SubjectError};

/// How long an answer may take.
pub const ANSWER: Duration = Duration::from_secs(3);

/// A question, and what answers it.
pub trait Command: Serialize + DeserializeOwned + Send + 'static {
    /// The service that answers.
    const SERVICE: &str;
    /// The subject's last token.
    const VERB: &str;
    /// The answer.
    type Answer: Serialize + DeserializeOwned + Send;
}

/// Why a question was not answered.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The node's name is none.
    #[error(transparent)]
    Node(#[from] SubjectError),
    /// Nobody listens there.
    #[error("no {service} answers for node {node:?}")]
    Nobody {
        /// The service.
        service: &'static str,
        /// The node.
        node: String,
    },
    /// No answer in time, or no connection.
    #[error("{service} of node {node:?} did not answer")]
    Silent {
        /// The service.
        service: &'static str,
        /// The node.
        node: String,
        /// What went wrong.
        source: async_nats::RequestError,
    },
    /// The service said no.
    #[error("{0}")]
    Refused(String),
    /// Question or answer could not be written or read.
    #[error("the {0} is not as agreed")]
    Payload(&'static str),
    /// The service cannot be announced.
    #[error("cannot announce the service")]
    Announce(#[source] async_nats::Error),
}

/// How a service is: every service answers it, under its own name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GetHealth {}

/// Asks one node's instance.
pub async fn ask<C: Command>(connection: &Connection, node: &str, question: &C) -> Result<C::Answer, CommandError> {
    ask_verb(connection, C::SERVICE, node, C::VERB, question).await
}

/// Asks any service how it is.
pub async fn ask_health(connection: &Connection, service: &'static str, node: &str) -> Result<Health, CommandError> {
    ask_verb(connection, service, node, HEALTH, &GetHealth {}).await
}

pub(crate) const HEALTH: &str = "health";

async fn ask_verb<Q: Serialize, A: DeserializeOwned>(
    connection: &Connection,
    service: &'static str,
    node: &str,
    verb: &'static str,
    question: &Q,
) -> Result<A, CommandError> {
    let subject = CommandSubject { service, node: NodeId::new(node)?, verb }.to_string();
    let Ok(payload) = rmp_serde::to_vec_named(question) else { return Err(CommandError::Payload("question")) };
    let request = async_nats::Request::new().payload(payload.into()).timeout(Some(ANSWER));
    let answer = connection.client().send_request(subject, request).await.map_err(|source| match source.kind() {
        async_nats::RequestErrorKind::NoResponders => CommandError::Nobody { service, node: node.to_owned() },
        _ => CommandError::Silent { service, node: node.to_owned(), source },
    })?;
    let refusal = answer.headers.as_ref().and_then(|headers| headers.get(async_nats::service::NATS_SERVICE_ERROR));
    if let Some(refusal) = refusal {
        return Err(CommandError::Refused(refusal.to_string()));
    }
    let read = rmp_serde::from_slice(&answer.payload);
    read.map_err(|error| {
        tracing::debug!(%error, service, verb, "answer");
        CommandError::Payload("answer")
    })
}

/// The service as NATS knows it; it answers while this is kept.
pub struct Answers {
    service: async_nats::service::Service,
    life: Life,
}

impl std::fmt::Debug for Answers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answers").field("life", &self.life).finish_non_exhaustive()
    }
}

impl Answers {
    /// Announces the service, and answers for its health.
    pub async fn announce(life: &Life) -> Result<Self, CommandError> {
        Self::announce_labelled(life, &Labels::none()).await
    }

    /// The same, with the node's labels.
    pub async fn announce_labelled(life: &Life, labels: &Labels) -> Result<Self, CommandError> {
        let (name, node) = life.name();
        let labels = (!labels.is_empty()).then(|| (roll::LABELS.to_owned(), labels.to_string()));
        let metadata = std::iter::once((roll::NODE.to_owned(), node.to_owned())).chain(labels).collect();
        let builder = life.connection().client().service_builder().metadata(metadata);
        let announced = builder.start(ServiceName(name).to_string(), env!("CARGO_PKG_VERSION")).await;
        let answers = Self { service: announced.map_err(CommandError::Announce)?, life: life.clone() };
        let about = life.clone();
        answers.serve(HEALTH, move |_: GetHealth| Ok(about.health())).await?;
        Ok(answers)
    }

    /// Answers a command from now on. The answer is made on a thread that may block.
    pub async fn answer<C: Command>(
        &self,
        answer: impl Fn(C) -> Result<C::Answer, String> + Send + Sync + 'static,
    ) -> Result<(), CommandError>
    where
        C::Answer: 'static,
    {
        self.serve(C::VERB, answer).await
    }

    async fn serve<Q: DeserializeOwned + Send + 'static, A: Serialize + Send + 'static>(
        &self,
        verb: &'static str,
        answer: impl Fn(Q) -> Result<A, String> + Send + Sync + 'static,
    ) -> Result<(), CommandError> {
        let (service, node) = self.life.name();
        let subject = CommandSubject { service, node: NodeId::new(node)?, verb }.to_string();
        let builder = self.service.endpoint_builder().name(verb);
        let mut endpoint = builder.add(&subject).await.map_err(CommandError::Announce)?;
        let answer = Arc::new(answer);
        tokio::spawn(async move {
            let mut complained = false;
            while let Some(request) = endpoint.next().await {
                // A consumer of somebody else's can have a stored message delivered here; nobody was allowed to ask that.
                if request.message.subject.as_str() != subject {
                    tracing::warn!(verb, subject = %request.message.subject, "what is no question is not answered");
                    continue;
                }
                let (answer, payload) = (answer.clone(), request.message.payload.clone());
                let made = tokio::task::spawn_blocking(move || {
                    let question = rmp_serde::from_slice(&payload)
                        .map_err(|error| (400, format!("the question is not as agreed: {error}")))?;
                    let answer = answer(question).map_err(|why| (422, why))?;
                    rmp_serde::to_vec_named(&answer).map_err(|error| (500, error.to_string()))
                });
                let made = made.await.unwrap_or_else(|error| Err((500, error.to_string())));
                // The endpoint's statistics count each refusal.
                if let Err((400, why)) = &made
                    && !std::mem::replace(&mut complained, true)
                {
                    tracing::warn!(verb, why, "a foreign question is refused, as others will be without a word");
                }
                let response = made.map(Into::into).map_err(|(code, status)| Refusal { code, status });
                if let Err(error) = request.respond(response).await {
                    tracing::debug!(verb, %error, "an answer was not sent");
                }
            }
        });
        Ok(())
    }
}
