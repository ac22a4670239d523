import { PilotageError } from '../lib/errors.ts';
import type { ErrorParts } from '../lib/errors.ts';

/** Codes of the origin store, the caching proxy and the local store; verification codes are in signing/errors.ts. */
export type CodecacheErrorCode =
  | 'E_UPSTREAM_FAILED'
  | 'E_UPSTREAM_FORGED'
  | 'E_UPSTREAM_TIMEOUT'
  | 'E_NOT_CACHED'
  | 'E_CACHE_BUSY'
  | 'E_CACHE_ENCODING'
  | 'E_ARCHIVE_UNSAFE'
  | 'E_STORE_LOCKED'
  | 'E_STORE_UNSAFE'
  | 'E_ARCH_UNSUPPORTED'
  | 'E_WRAPPER_ROOT'
  | 'E_WRAPPER_TOO_LARGE';

export const codecacheError = (parts: ErrorParts<CodecacheErrorCode>): PilotageError<CodecacheErrorCode> =>
  new PilotageError(parts);
