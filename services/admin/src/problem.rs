//! What a request can go wrong by: one type, rendered in one place.

use axum::response::{IntoResponse, Response};
use campaign::{DefinitionError, Mistake};
use campaign_service::ServiceError;
use http::{HeaderValue, StatusCode, header};
use storage::{ErrorKind, StoreError};

use crate::api::{InputError, ProblemBody, problem_types as types};

/// An error answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is shown.
    pub body: Box<ProblemBody>,
    /// When to try again, in seconds.
    pub retry_after_s: Option<u32>,
}

impl Problem {
    fn new(status: StatusCode, type_: &str, title: &str, detail: impl Into<String>) -> Self {
        let body = ProblemBody {
            type_: type_.into(),
            title: title.into(),
            status: status.as_u16(),
            detail: detail.into(),
            ..ProblemBody::default()
        };
        Self { body: Box::new(body), retry_after_s: None }
    }

    /// The token is missing or wrong.
    pub fn unauthorized(detail: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, types::UNAUTHORIZED, "The token is missing or wrong", detail)
    }

    /// There is no such thing.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, types::NOT_FOUND, "Not found", detail)
    }

    /// The route does not take the method.
    pub fn method_not_allowed(method: &http::Method) -> Self {
        let detail = format!("this path does not take {method}");
        let title = "Method not allowed";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, types::METHOD_NOT_ALLOWED, title, detail)
    }

    /// The request may not be made from where it comes.
    pub fn forbidden(detail: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, types::FORBIDDEN, "Not allowed from there", detail)
    }

    /// Past a limit.
    pub fn too_many(detail: &str, retry_after_s: u32) -> Self {
        let (status, title) = (StatusCode::TOO_MANY_REQUESTS, "Too many requests");
        let mut problem = Self::new(status, types::TOO_MANY_REQUESTS, title, detail);
        problem.retry_after_s = Some(retry_after_s);
        problem
    }

    /// Something in the request is not as it must be.
    pub fn invalid(where_: impl Into<String>, expected: impl Into<String>, got: impl Into<String>) -> Self {
        let (where_, expected, got) = (where_.into(), expected.into(), got.into());
        let detail = format!("{where_}: expected {expected}, got {got}");
        let mut problem = Self::invalid_text(detail);
        problem.body.where_ = Some(where_);
        problem.body.expected = Some(expected);
        problem.body.got = Some(got);
        problem
    }

    /// Something in the request is not as it must be, said in a sentence.
    pub fn invalid_text(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, types::INVALID_INPUT, "The input is not valid", detail)
    }

    /// The request's media type is not one that is read here.
    pub fn unsupported_media_type(expected: &str, got: &str) -> Self {
        Self::unsupported("Content-Type", expected, got)
    }

    /// The request's content is in a coding that is not read here.
    pub fn unsupported_coding(got: &str) -> Self {
        Self::unsupported("Content-Encoding", "none", got)
    }

    fn unsupported(header: &str, expected: &str, got: &str) -> Self {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        let title = "Unsupported media type";
        let mut problem = Self::new(status, types::UNSUPPORTED_MEDIA_TYPE, title, "");
        problem.body.detail = format!("{header}: expected {expected}, got {got}");
        problem.body.where_ = Some(header.into());
        problem.body.expected = Some(expected.into());
        problem.body.got = Some(got.into());
        problem
    }

    /// The request's content is too large.
    pub fn too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, types::TOO_LARGE, "Too large", detail)
    }

    /// There is one already, and it is different.
    pub fn already_exists(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, types::ALREADY_EXISTS, "There already", detail)
    }

    /// The state of the thing does not allow it.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, types::CONFLICT, "The state does not allow it", detail)
    }

    /// `If-Match` is not met.
    pub fn precondition_failed(expected: &str, present: &str) -> Self {
        let detail = format!("If-Match is {expected}, the present revision is {present}: read it again");
        let title = "Someone else changed it";
        Self::new(StatusCode::PRECONDITION_FAILED, types::PRECONDITION_FAILED, title, detail)
    }

    /// Not now.
    pub fn unavailable(detail: impl Into<String>, retry_after_s: u32) -> Self {
        let title = "Not available now";
        let mut problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, types::UNAVAILABLE, title, detail);
        problem.retry_after_s = Some(retry_after_s);
        problem
    }

    /// The server's fault. The cause is for the log, not for the answer.
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, types::INTERNAL, "The server failed", detail)
    }

    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.body.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl From<InputError> for Problem {
    fn from(error: InputError) -> Self {
        Self::invalid(error.field, error.expected, error.got)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let detail = format!("could not {}", error.operation);
        match error.kind {
            ErrorKind::Conflict => Self::conflict(format!("{detail}: someone else wrote first")),
            ErrorKind::Unavailable => Self::unavailable(detail, 5),
            ErrorKind::TimedOut => {
                let title = "It is not known whether it was done";
                let mut problem =
                    Self::new(StatusCode::SERVICE_UNAVAILABLE, types::OUTCOME_UNKNOWN, title, detail);
                problem.retry_after_s = Some(1);
                problem
            }
            ErrorKind::TooLarge => Self::too_large(format!("{detail}: larger than is taken")),
            ErrorKind::Missing => Self::not_found(format!("{detail}: it is not there")),
            ErrorKind::Corrupt => {
                let cause = error.source.as_ref().map(ToString::to_string).unwrap_or_default();
                tracing::error!(operation = error.operation, cause, "stored record cannot be read");
                Self::internal(detail)
            }
        }
    }
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        let detail = error.to_string();
        match error {
            ServiceError::NotFound(_) => Self::not_found(detail),
            ServiceError::NoArtifact(artifact) => {
                Self::invalid("artifact", "an artifact that was added", format!("{artifact}, which was not"))
            }
            ServiceError::NoMembers { .. } | ServiceError::WrongState { .. } => Self::conflict(detail),
            ServiceError::Unavailable => Self::unavailable(detail, 1),
            ServiceError::NoAnswer { .. } => {
                let mut problem = Self::unavailable(detail, 5);
                problem.body.type_ = types::OUTCOME_UNKNOWN.into();
                problem.body.title = "It is not known whether it was done".into();
                problem
            }
            ServiceError::Store(error) => error.into(),
            error => {
                tracing::error!(error = &error as &dyn std::error::Error, "campaign cannot be worked on");
                Self::internal(detail)
            }
        }
    }
}

impl From<DefinitionError> for Problem {
    fn from(error: DefinitionError) -> Self {
        match error {
            DefinitionError::Syntax(detail) => Self::invalid_text(detail),
            DefinitionError::Mistakes(mistakes) => {
                let mut problem = Self::invalid_text(list(&mistakes));
                problem.body.where_ = mistakes.first().map(|mistake| mistake.key.clone());
                problem
            }
        }
    }
}

fn list(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self.body).unwrap_or_default();
        let mut response = (self.status(), body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.body.status == 401 {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"flotilla\""));
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        // The outermost layer renders it again, with the request's path and id.
        response.extensions_mut().insert(self);
        response
    }
}
