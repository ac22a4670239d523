import { libError } from '../errors.ts';
import type { LibErrorCode, PilotageError } from '../errors.ts';
import type { DatabaseUrl } from './database-url.ts';

/** E_DATABASE_UNREACHABLE naming the address, never the password. The driver's own words follow where they help. */
export function databaseUnreachable(url: DatabaseUrl, cause: unknown): PilotageError<LibErrorCode> {
  const said = cause instanceof Error ? cause.message || (cause as NodeJS.ErrnoException).code || '' : '';
  return libError({
    code: 'E_DATABASE_UNREACHABLE',
    message: 'The database cannot be reached.',
    where: url.label,
    ...(said === '' ? {} : { found: withoutSecret(said, url) }),
    fix:
      url.dialect === 'sqlite'
        ? 'Check that the directory exists, may be written, and that the file is a SQLite database.'
        : 'Check that the server runs there, and the user, password and database name.',
    cause,
  });
}

function withoutSecret(text: string, url: DatabaseUrl): string {
  const line = text.split('\n')[0]!;
  return url.dialect === 'sqlite' || !url.password ? line : line.replaceAll(url.password, '[redacted]');
}
