import { PilotageError } from '../../lib/errors.ts';
import { signingError } from '../../signing/errors.ts';
import type { VerificationErrorCode } from '../../signing/errors.ts';
import type { CacheFetcher } from './cache-fetcher.ts';

interface Rule {
  /** tuf-js wraps errors into text, so its text is what there is to go by; a test holds each line. */
  text: RegExp;
  code: VerificationErrorCode;
  message: (match: RegExpExecArray) => string;
}

const rules: Rule[] = [
  {
    text: /([A-Za-z0-9_-]+) was signed by (\d+)\/(\d+) keys/,
    code: 'E_TUF_SIGNATURE',
    message: ([, role, found, least]) =>
      `The role "${role}" is signed by ${found} of the ${least} keys it needs.`,
  },
  {
    text: /(?:Final )?([A-Za-z0-9_-]+)\.json is expired/,
    code: 'E_TUF_EXPIRED',
    message: ([, role]) => `The signature of the role "${role}" expired.`,
  },
  {
    text: /New timestamp version (\d+) is less than current version (\d+)/,
    code: 'E_TUF_STALE',
    message: ([, found, trusted]) =>
      `The timestamp is version ${found}, older than ${trusted}, which this node trusts.`,
  },
  {
    text: /Expected (?:length|hash) \S+ but got \S+|Max length reached/,
    code: 'E_TUF_HASH',
    message: () => 'The file is not the one that the metadata above it names.',
  },
  {
    text: /is less than current version|doesn't match timestamp|Missing file|Expected version|does not match snapshot version/,
    code: 'E_TUF_ROLLBACK',
    message: ([text]) => `The metadata goes back behind what this node trusts: ${text}.`,
  },
  {
    text: /Missing (\S+)\.json in snapshot/,
    code: 'E_TARGET_UNKNOWN',
    message: ([, role]) => `The snapshot names no role "${role}".`,
  },
];

/** The code of the contract for whatever tuf-js threw, naming the file and the cache. */
export function judgeTufError(
  error: unknown,
  fetcher: CacheFetcher,
  cache: string,
  signal?: AbortSignal,
): unknown {
  if (signal?.aborted === true) return signal.reason;
  if (error instanceof PilotageError) return error;
  const text = error instanceof Error ? error.message : String(error);
  const where = `${cache.replace(/\/+$/, '')}/${fetcher.lastPath}`;
  const unhashed = /timestamp\.json$|\.root\.json$/.test(fetcher.lastPath);
  for (const rule of rules) {
    const match = rule.text.exec(text);
    if (match === null) continue;
    const code = rule.code === 'E_TUF_HASH' && unhashed ? 'E_TUF_FORMAT' : rule.code;
    return signingError({ code, message: rule.message(match), where, found: text, fix: FIX, cause: error });
  }
  if (fetcher.lastFailure instanceof PilotageError) return fetcher.lastFailure;
  return signingError({
    code: 'E_TUF_FORMAT',
    message: 'The file is not valid metadata.',
    where,
    found: text,
    fix: FIX,
    cause: error,
  });
}

const FIX = 'Use another cache; if all caches give this, tell the release managers.';
