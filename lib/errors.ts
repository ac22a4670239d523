/** One source that was refused on the way to something: a cache that gave bytes other than were signed. */
export interface Refusal {
  cache: string;
  code: string;
  /** The file, as a URL. */
  where: string;
}

/** What a person needs to act on an error; every field is one plain sentence or value. */
export interface ErrorParts<Code extends string = string> {
  /** Stable identifier, `E_…`; listed in docs/reference/errors.md. */
  code: Code;
  /** One sentence: what went wrong. */
  message: string;
  /** File, field, host or option the error is about. */
  where?: string;
  expected?: string;
  found?: string;
  /** What to do about it. */
  fix?: string;
  /** The policy or verification rule that decided, for refusals. */
  rule?: string;
  cause?: unknown;
  /** Seconds after which trying again is useful (429, 503). */
  retryAfterSeconds?: number;
  /** Every source that was refused before all failed. */
  refusals?: readonly Refusal[];
}

/** Base of every error that Pilotage throws on purpose. Anything else that reaches a user is a defect. */
export class PilotageError<Code extends string = string> extends Error {
  readonly code: Code;
  readonly where?: string;
  readonly expected?: string;
  readonly found?: string;
  readonly fix?: string;
  readonly rule?: string;
  readonly retryAfterSeconds?: number;
  readonly refusals?: readonly Refusal[];

  constructor(parts: ErrorParts<Code>) {
    super(parts.message, parts.cause === undefined ? undefined : { cause: parts.cause });
    this.name = 'PilotageError';
    this.code = parts.code;
    if (parts.where !== undefined) this.where = parts.where;
    if (parts.expected !== undefined) this.expected = parts.expected;
    if (parts.found !== undefined) this.found = parts.found;
    if (parts.fix !== undefined) this.fix = parts.fix;
    if (parts.rule !== undefined) this.rule = parts.rule;
    if (parts.retryAfterSeconds !== undefined) this.retryAfterSeconds = parts.retryAfterSeconds;
    if (parts.refusals !== undefined) this.refusals = parts.refusals;
  }
}

/** Codes that belong to no single folder. Each other folder has its own `errors.ts`. */
export type LibErrorCode =
  | 'E_CONFIG_UNREADABLE'
  | 'E_CONFIG_INVALID'
  | 'E_USAGE'
  | 'E_FILE_MISSING'
  | 'E_FILE_UNREADABLE'
  | 'E_PORT_IN_USE'
  | 'E_ADDRESS_UNAVAILABLE'
  | 'E_UNREACHABLE'
  | 'E_TIMEOUT'
  | 'E_PROTOCOL'
  | 'E_ABORTED'
  | 'E_DATABASE_UNREACHABLE'
  | 'E_DATABASE_URL'
  | 'E_SCHEMA_UNKNOWN'
  | 'E_SCHEMA_OUTDATED'
  | 'E_MIGRATION_CHANGED'
  | 'E_DISK_FULL'
  | 'E_PERMISSION';

export const libError = (parts: ErrorParts<LibErrorCode>): PilotageError<LibErrorCode> =>
  new PilotageError(parts);

/** An error as what another process of this program makes it again from: as JSON, without cause and refusals. */
export function partsOf(error: unknown): ErrorParts {
  if (!(error instanceof PilotageError))
    return { code: 'E_INTERNAL', message: error instanceof Error ? error.message : String(error) };
  const { code, message, where, expected, found, fix, rule, retryAfterSeconds } = error;
  return {
    code,
    message,
    ...(where !== undefined && { where }),
    ...(expected !== undefined && { expected }),
    ...(found !== undefined && { found }),
    ...(fix !== undefined && { fix }),
    ...(rule !== undefined && { rule }),
    ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
  };
}

/** Names what a Node system error means, with the thing it happened to. */
export function fromSystemError(error: unknown, where: string): PilotageError<LibErrorCode> {
  const system = error as NodeJS.ErrnoException;
  const known: Record<string, { code: LibErrorCode; message: string; fix: string }> = {
    ENOENT: {
      code: 'E_FILE_MISSING',
      message: 'There is no such file or directory.',
      fix: 'Check the path.',
    },
    EACCES: {
      code: 'E_PERMISSION',
      message: 'Permission denied.',
      fix: 'Check the owner and mode of the path.',
    },
    EPERM: {
      code: 'E_PERMISSION',
      message: 'Operation not permitted.',
      fix: 'Check the owner and mode of the path.',
    },
    EISDIR: { code: 'E_FILE_UNREADABLE', message: 'This is a directory, not a file.', fix: 'Name a file.' },
    ENOTDIR: {
      code: 'E_FILE_MISSING',
      message: 'A part of the path is not a directory.',
      fix: 'Check the path.',
    },
    EEXIST: {
      code: 'E_FILE_UNREADABLE',
      message: 'There is something else under this name already.',
      fix: 'Name another path, or move away what is there.',
    },
    EROFS: {
      code: 'E_PERMISSION',
      message: 'This file system is mounted read-only.',
      fix: 'Name a place on another file system, or mount this one for writing.',
    },
    ENOSPC: { code: 'E_DISK_FULL', message: 'The disk is full.', fix: 'Free space on this file system.' },
    EDQUOT: {
      code: 'E_DISK_FULL',
      message: 'The disk quota of this user is used up.',
      fix: 'Free space, or ask for a larger quota.',
    },
    EFBIG: {
      code: 'E_DISK_FULL',
      message: 'The file is larger than this process may write.',
      fix: 'Raise the limit on file sizes (ulimit -f), or use another file system.',
    },
    EADDRINUSE: {
      code: 'E_PORT_IN_USE',
      message: 'The address is already in use by another program.',
      fix: 'Choose another port, or stop the program that has it.',
    },
    EADDRNOTAVAIL: {
      code: 'E_ADDRESS_UNAVAILABLE',
      message: 'This machine does not have that address.',
      fix: 'Listen on an address of this machine, for example 127.0.0.1.',
    },
    ECONNREFUSED: {
      code: 'E_UNREACHABLE',
      message: 'The connection was refused.',
      fix: 'Is the service running there?',
    },
    ENOTFOUND: { code: 'E_UNREACHABLE', message: 'The host name is unknown.', fix: 'Check the host name.' },
  };
  const parts = known[system?.code ?? ''] ?? {
    code: 'E_FILE_UNREADABLE' as const,
    message: `The system reported ${system?.code ?? 'an error'}: ${system?.message ?? String(error)}.`,
    fix: 'See the message.',
  };
  return libError({ ...parts, where, cause: error });
}

/** Text for a terminal: code and message first, then the parts that are known. Never a stack trace. */
export function formatError(error: unknown): string {
  if (!(error instanceof PilotageError)) {
    const text = error instanceof Error ? error.message : String(error);
    return plain(
      `E_INTERNAL: ${text}\n  This is a defect in Pilotage; run again with PILOTAGE_DEBUG=1 and report what it prints.`,
    );
  }
  const lines = [`${error.code}: ${error.message}`];
  for (const field of ['where', 'expected', 'found', 'rule', 'fix'] as const) {
    if (error[field] !== undefined) lines.push(`  ${field}: ${error[field]}`);
  }
  for (const { cache, code, where } of error.refusals ?? [])
    lines.push(`  refused: ${cache} (${code} ${where})`);
  return plain(lines.join('\n'));
}

/** What a file or a service of others put into an error moves no cursor and turns no text round. */
const plain = (text: string): string => text.replaceAll(/(?!\n)\p{Cc}|\p{Bidi_Control}/gu, '?');
