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
  | 'E_DIRECTORY_IN_USE'
  | 'E_NOT_IN_A_RESTART'
  | 'E_PROGRAM_ENDED'
  | 'E_OBJECTS_DAMAGED'
  | 'E_ARCHIVE_UNSAFE'
  | 'E_STORE_LOCKED'
  | 'E_STORE_UNSAFE'
  | 'E_ARCH_UNSUPPORTED'
  | 'E_WRAPPER_ROOT'
  | 'E_WRAPPER_TOO_LARGE';

export const codecacheError = (parts: ErrorParts<CodecacheErrorCode>): PilotageError<CodecacheErrorCode> =>
  new PilotageError(parts);

/** Of a request with only-if-cached (RFC 9111 5.2.1.7). */
export const notCached = (path: string): PilotageError<CodecacheErrorCode> =>
  codecacheError({
    code: 'E_NOT_CACHED',
    message: 'The request is for what is kept here only, and this is not.',
    where: path,
    fix: 'Ask without Cache-Control: only-if-cached.',
  });
