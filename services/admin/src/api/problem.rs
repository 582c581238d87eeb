//! Errors as RFC 9457 problem details.

use serde::{Deserialize, Serialize};

/// The stable `type` of each error. A client may switch on these; the texts beside them may change.
pub mod problem_types {
    /// The token is missing or wrong.
    pub const UNAUTHORIZED: &str = "urn:flotilla:problem:unauthorized";
    /// The request may not be made from where it comes.
    pub const FORBIDDEN: &str = "urn:flotilla:problem:forbidden";
    /// More requests, or more wrong tokens, came than the settings allow.
    pub const TOO_MANY_REQUESTS: &str = "urn:flotilla:problem:too-many-requests";
    /// No such resource, or no such route.
    pub const NOT_FOUND: &str = "urn:flotilla:problem:not-found";
    /// The route does not take this method.
    pub const METHOD_NOT_ALLOWED: &str = "urn:flotilla:problem:method-not-allowed";
    /// The request's content, query or path is not what the route takes.
    pub const INVALID_INPUT: &str = "urn:flotilla:problem:invalid-input";
    /// The request's media type is not one the route takes.
    pub const UNSUPPORTED_MEDIA_TYPE: &str = "urn:flotilla:problem:unsupported-media-type";
    /// The request's content is larger than the settings allow.
    pub const TOO_LARGE: &str = "urn:flotilla:problem:too-large";
    /// There is one of that name already, and it is different.
    pub const ALREADY_EXISTS: &str = "urn:flotilla:problem:already-exists";
    /// The resource's state does not allow it.
    pub const CONFLICT: &str = "urn:flotilla:problem:conflict";
    /// `If-Match` names another revision than the present one.
    pub const PRECONDITION_FAILED: &str = "urn:flotilla:problem:precondition-failed";
    /// The server cannot do it now.
    pub const UNAVAILABLE: &str = "urn:flotilla:problem:unavailable";
    /// It is not known whether the write happened; asking again is safe.
    pub const OUTCOME_UNKNOWN: &str = "urn:flotilla:problem:outcome-unknown";
    /// The server's fault.
    pub const INTERNAL: &str = "urn:flotilla:problem:internal";
}

/// An `application/problem+json` body.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemBody {
    /// One of [`problem_types`].
    #[serde(rename = "type")]
    pub type_: String,
    /// The same for all problems of a type.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened here.
    pub detail: String,
    /// Of bad input: the field, parameter or position at fault.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub where_: Option<String>,
    /// Of bad input: what was expected there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// Of bad input: what came. Never a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub got: Option<String>,
    /// The request's path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The id of the request in the server's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
}
