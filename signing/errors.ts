import { PilotageError, type ErrorParts } from '../lib/errors.ts';

/** What a verifier of signed metadata or of a target refuses with; `where` names the file and the cache. */
export type VerificationErrorCode =
  | 'E_TUF_FORMAT'
  | 'E_TUF_SIGNATURE'
  | 'E_TUF_EXPIRED'
  | 'E_TUF_ROLLBACK'
  | 'E_TUF_STALE'
  | 'E_TUF_HASH'
  | 'E_TARGET_HASH'
  | 'E_TARGET_LENGTH'
  | 'E_TARGET_UNKNOWN'
  | 'E_CHANNEL_MISMATCH'
  | 'E_CHANNEL_YANKED'
  | 'E_CHANNEL_HALTED'
  | 'E_CHANNEL_FLOOR'
  | 'E_CLOCK'
  | 'E_CACHE_UNREACHABLE';

/** Keys and passphrases of release managers. */
export type KeyErrorCode =
  | 'E_KEY_MISSING'
  | 'E_KEY_UNREADABLE'
  | 'E_KEY_EXISTS'
  | 'E_KEY_NOT_AUTHORIZED'
  | 'E_KEY_SCHEME'
  | 'E_SIGNER_FAILED'
  | 'E_SIGNER_WRONG'
  | 'E_PASSPHRASE_WRONG'
  | 'E_PASSPHRASE_MISSING'
  | 'E_PASSPHRASE_UNREADABLE';

/** The release repository and what is put into it. */
export type ReleaseErrorCode =
  | 'E_REPOSITORY_MISSING'
  | 'E_REPOSITORY_EXISTS'
  | 'E_REPOSITORY_UNREADABLE'
  | 'E_REPOSITORY_LOCKED'
  | 'E_REPOSITORY_LOCK_LOST'
  | 'E_REPOSITORY_UNPUBLISHED'
  | 'E_THRESHOLD_NOT_MET'
  | 'E_PENDING_EXISTS'
  | 'E_PENDING_MISSING'
  | 'E_REQUEST_INVALID'
  | 'E_REQUEST_SIGNATURE'
  | 'E_REQUEST_CHANGED'
  | 'E_REQUEST_SUPERSEDED'
  | 'E_VERSION_EXISTS'
  | 'E_VERSION_UNKNOWN'
  | 'E_VERSION_INVALID'
  | 'E_VERSION_REVOKED'
  | 'E_TAG_UNKNOWN'
  | 'E_TAG_SIGNATURE'
  | 'E_GIT_FAILED'
  | 'E_BUILD_FAILED'
  | 'E_TARBALL_INVALID'
  | 'E_CHANNEL_UNKNOWN'
  | 'E_CHANNEL_EMPTY'
  | 'E_CHANNEL_INVALID'
  | 'E_CHANNEL_NO_PREVIOUS'
  | 'E_QUEUE_INVALID'
  | 'E_LOG_TAMPERED';

/** Certificate chains, authorities and requests. */
export type X509ErrorCode =
  | 'E_NO_CERTIFICATE'
  | 'E_CHAIN_INVALID'
  | 'E_CHAIN_EXPIRED'
  | 'E_CHAIN_UNTRUSTED'
  | 'E_SESSION_RESUMED'
  | 'E_CERTIFICATE_UNREADABLE'
  | 'E_TRUST_EMPTY'
  | 'E_TRUST_FILE'
  | 'E_CSR_INVALID'
  | 'E_SUBJECT_INVALID'
  | 'E_AUTHORITY_EXISTS'
  | 'E_AUTHORITY_EXPIRED'
  | 'E_AUTHORITY_INVALID';

export type SigningErrorCode = VerificationErrorCode | KeyErrorCode | ReleaseErrorCode | X509ErrorCode;

export const signingError = (parts: ErrorParts<SigningErrorCode>): PilotageError<SigningErrorCode> =>
  new PilotageError(parts);
