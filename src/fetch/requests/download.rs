//! A large body that goes on where it broke (RFC 9110 section 14: `Range`, 206, 416), or is asked for from its start again
//! where the other side gives no parts. A body that comes as gzip is taken apart on the way, if that is wished.

use super::retry::Backoff;
use super::send::broken;
use crate::fetch::answers::first_byte;
use crate::fetch::client::FetchClient;
use crate::fetch::coding::{self, Gunzip, not_gzip};
use crate::fetch::error::{FetchError, FetchErrorKind};
use crate::fetch::wire::shown;
use bytes::{Buf, Bytes};
use reqwest::header::{CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};
use reqwest::{Response, Url};

/// What is asked for of a body.
#[derive(Debug, Clone, Copy)]
pub struct FetchSpan {
    /// Bytes from the body's start that are there already.
    pub from: u64,
    /// Bytes of the whole body.
    pub size: u64,
    /// Whether a part may be asked for with `Range`; else what is there is passed over in the whole body.
    pub ranges: bool,
    /// Whether an answer that says that it is coded as gzip is taken apart. Some say so of a body that is gzip by itself.
    pub decode: bool,
}

/// A body under way. Dropping it ends the transfer.
pub struct Download {
    client: FetchClient,
    target: String,
    scope: String,
    url: Url,
    size: u64,
    at: u64,
    /// Bytes of the answer to pass over: the server began earlier than it was asked to.
    skip: u64,
    response: Option<Response>,
    /// The other side gives parts, as far as is known.
    ranges: bool,
    decode: bool,
    /// The bytes are of several parts, or an answer was decoded.
    made: bool,
    /// The coding of the answer under way, or of the last one, if it is none that is taken off.
    coding: Option<String>,
    /// What the answer under way is decoded with, and what of it came and is not decoded yet.
    gunzip: Option<(Gunzip, Bytes)>,
    backoff: Backoff,
}

impl FetchClient {
    /// Begins to download this span of `target`.
    ///
    /// The first answer is waited for, so that a 404 is an error here ([`FetchError::Status`]).
    pub async fn download(
        &self,
        target: &str,
        scope: &str,
        span: FetchSpan,
    ) -> Result<Download, FetchError> {
        let url = self.asking(target).await?.url;
        let mut download = Download {
            client: self.clone(),
            target: target.to_owned(),
            scope: scope.to_owned(),
            url,
            size: span.size,
            at: span.from,
            skip: 0,
            response: None,
            ranges: span.ranges,
            decode: span.decode,
            made: false,
            coding: None,
            gunzip: None,
            backoff: self.inner.backoff(None),
        };
        if span.from < span.size {
            download.open().await?;
        }
        Ok(download)
    }
}

/// What an answer gave.
enum Next {
    /// Bytes, or none yet.
    Piece(Bytes),
    /// It is over.
    End,
    /// It broke off.
    Broken(String),
}

impl Download {
    /// Bytes from the body's start that have been handed out or were there before.
    pub fn offset(&self) -> u64 {
        self.at
    }

    /// Whether the bytes handed out are not simply those of one answer: a part was put behind what was there, or a coding
    /// taken off. If the whole is wrong, it may be right when it is asked for in another way.
    pub fn is_made(&self) -> bool {
        self.made
    }

    /// The coding that the bytes may still have: the answer says so, and it is none that is taken off here.
    pub fn coding(&self) -> Option<&str> {
        self.coding.as_deref()
    }

    /// The next bytes; `None` at the end, which is at `size` and nowhere else. A body that breaks is asked for again from
    /// where it broke, as often as the options say without a byte between.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, FetchError> {
        loop {
            if self.at >= self.size {
                return self.end().await;
            }
            if self.response.is_none() {
                self.open().await?;
            }
            let why = match self.next().await {
                Ok(Next::Piece(piece)) => match self.take(piece)? {
                    Some(piece) => return Ok(Some(piece)),
                    None => continue,
                },
                Err(error) => return Err(error),
                Ok(Next::Broken(why)) => why,
                // All of it came, and it is another body: trying again brings the same.
                Ok(Next::End) if self.gunzip.is_some() => {
                    let (at, size) = (self.at, self.size);
                    let why = format!("decoded it ends after {at} of {size} bytes");
                    return Err(FetchError::Coding {
                        url: shown(&self.url),
                        why,
                    });
                }
                // All of it came, and it is coded.
                Ok(Next::End) if self.coding.is_some() => return Err(self.foreign()),
                Ok(Next::End) => {
                    format!("the answer ended after {} of {} bytes", self.at, self.size)
                }
            };
            self.response = None;
            self.gunzip = None;
            let error = FetchError::Body {
                url: shown(&self.url),
                why,
            };
            let inner = self.client.inner.clone();
            inner.pause(&mut self.backoff, error, None).await?;
        }
    }

    /// What comes next of the answer, plain.
    async fn next(&mut self) -> Result<Next, FetchError> {
        if let Some((gunzip, coded)) = &mut self.gunzip
            && !coded.is_empty()
        {
            let step = gunzip.step(coded);
            return step
                .map(Next::Piece)
                .map_err(|e| not_gzip(shown(&self.url), &e));
        }
        let Some(response) = &mut self.response else {
            return Ok(Next::End);
        };
        match (response.chunk().await, &mut self.gunzip) {
            (Ok(Some(piece)), None) => Ok(Next::Piece(piece)),
            (Ok(Some(piece)), Some((_, coded))) => {
                *coded = piece;
                Ok(Next::Piece(Bytes::new()))
            }
            (Ok(None), Some((gunzip, _))) => Ok(match gunzip.end() {
                Ok(piece) if !piece.is_empty() => Next::Piece(piece),
                Ok(_) => Next::End,
                Err(error) => Next::Broken(format!("the coded answer is not whole ({error})")),
            }),
            (Ok(None), None) => Ok(Next::End),
            (Err(error), _) => Ok(Next::Broken(broken(&error))),
        }
    }

    fn take(&mut self, mut piece: Bytes) -> Result<Option<Bytes>, FetchError> {
        let over = self.skip.min(piece.len() as u64);
        piece.advance(over as usize);
        self.skip -= over;
        if piece.is_empty() {
            return Ok(None);
        }
        self.at += piece.len() as u64;
        if self.at > self.size {
            return Err(self.too_large());
        }
        self.backoff.reset();
        Ok(Some(piece))
    }

    async fn end(&mut self) -> Result<Option<Bytes>, FetchError> {
        // What breaks here does not matter: all bytes are there, and their digest decides.
        while let Ok(Next::Piece(piece)) = self.next().await {
            if !piece.is_empty() {
                return Err(self.too_large());
            }
        }
        (self.response, self.gunzip) = (None, None);
        Ok(None)
    }

    fn foreign(&self) -> FetchError {
        FetchError::Coded {
            url: shown(&self.url),
            coding: self.coding.clone().unwrap_or_default(),
        }
    }

    fn too_large(&self) -> FetchError {
        if self.coding.is_some() {
            return self.foreign();
        }
        FetchError::TooLarge {
            url: shown(&self.url),
            limit: self.size,
        }
    }

    /// Asks for the rest; where a part is refused in whatever way, once for everything.
    async fn open(&mut self) -> Result<(), FetchError> {
        if self.at > 0 && self.ranges {
            match self.open_part().await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) if error.kind() == FetchErrorKind::Usage => return Err(error),
                // Whoever waits for an upstream waits once.
                Err(error) if self.client.inner.line.is_some() && is_away(&error) => {
                    return Err(error);
                }
                Err(error) => tracing::debug!(url = %shown(&self.url), %error, "no part is given"),
            }
            self.ranges = false;
        }
        let response = self.ask(None).await?;
        match response.status().as_u16() {
            // Some call the whole a part; 203 is the whole as some proxy made it, of which the digest decides.
            200 | 203 => {}
            206 if part(response.headers(), self.size).is_none_or(|first| first == 0) => {}
            206 => return Err(self.bad("a part came that was not asked for")),
            _ => return Err(self.refused(response).await),
        }
        self.whole(response);
        Ok(())
    }

    /// Goes on with an answer that is the whole body; what is there of it is passed over.
    fn whole(&mut self, response: Response) {
        let is_coded = coding::is_gzip(response.headers());
        self.coding = coding::foreign(response.headers());
        // One that is as long as the plain body is what it is by itself.
        if self.decode && is_coded && response.content_length() != Some(self.size) {
            self.gunzip = Some((Gunzip::default(), Bytes::new()));
            self.made = true;
            // Of what is coded, parts are of no use.
            self.ranges = false;
        }
        self.skip = self.at;
        self.response = Some(response);
    }

    /// Asks for the rest alone; `false`: what came is no part that fits.
    async fn open_part(&mut self) -> Result<bool, FetchError> {
        let response = self.ask(Some(self.at)).await?;
        let headers = response.headers();
        let begins = match response.status().as_u16() {
            // Everything came, unless its length says that it is something else.
            200 | 203
                if response.content_length().is_none_or(|n| n == self.size)
                    || coding::is_gzip(headers) =>
            {
                self.whole(response);
                return Ok(true);
            }
            206 => part(headers, self.size).filter(|first| *first <= self.at),
            _ => None,
        };
        let Some(begins) = begins else {
            return Ok(false);
        };
        self.made |= begins > 0;
        self.coding = coding::foreign(headers);
        self.skip = self.at - begins;
        self.response = Some(response);
        Ok(true)
    }

    async fn ask(&self, from: Option<u64>) -> Result<Response, FetchError> {
        let mut asking = self.client.asking(&self.target).await?;
        if let Some(from) = from {
            let range = HeaderValue::from_str(&format!("bytes={from}-"));
            let range = range.map_err(|e| FetchError::Options(e.to_string()))?;
            asking.headers.insert(RANGE, range);
        }
        self.client.authorized(asking, &self.scope).await
    }

    fn bad(&self, why: &str) -> FetchError {
        FetchError::Body {
            url: shown(&self.url),
            why: why.to_owned(),
        }
    }

    async fn refused(&self, response: Response) -> FetchError {
        match self.client.inner.read(response, 64 * 1024).await {
            Ok(reply) => FetchError::Status {
                url: shown(&self.url),
                status: reply.status,
                detail: reply.detail(),
            },
            Err(error) => error,
        }
    }
}

fn is_away(error: &FetchError) -> bool {
    error.kind() == FetchErrorKind::Unreachable
}

/// The first byte of the part that came, by its `Content-Range: bytes FIRST-LAST/TOTAL`; `None` if that does not say, or
/// says what cannot be of a body of `size` bytes.
fn part(headers: &HeaderMap, size: u64) -> Option<u64> {
    let said = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    // A part of something coded is a part of another body, unless that is as long as this one.
    if coding::is_gzip(headers) && said.trim_end().ends_with('*') {
        return None;
    }
    first_byte(said, size)
}
