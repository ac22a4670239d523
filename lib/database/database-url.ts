import { isIP } from 'node:net';
import { readTextBounded } from '../files.ts';
import { libError } from '../errors.ts';

/** A database address, parsed; `password` never goes into a message or log. */
export type DatabaseUrl =
  | { dialect: 'sqlite'; path: string; label: string }
  | {
      dialect: 'postgres' | 'mariadb';
      host: string;
      port: number;
      /** Unix socket: a directory for PostgreSQL, a file for MariaDB; then host and port are not used. */
      socket?: string;
      user: string;
      password?: string;
      database: string;
      /** Verified TLS; `ca` is the PEM text of the authority to trust, else the system's. */
      tls?: { ca?: string };
      /** The address without the password, for messages. */
      label: string;
    };

const FORMS =
  'sqlite:<path>, postgres://user@host:port/database or mariadb://user@host:port/database (options: ?passwordFile=, socket=, tls=verify, ca=)';
const PARAMETERS = new Set(['passwordFile', 'socket', 'tls', 'ca']);

const bad = (where: string, message: string, found?: string) =>
  libError({
    code: 'E_DATABASE_URL',
    message,
    where,
    expected: FORMS,
    ...(found === undefined ? {} : { found }),
    fix: 'Correct the database address.',
  });

/**
 * Parses a database address. Options of the two server dialects: `passwordFile` (keeps the password out of command
 * lines), `socket`, `tls=verify`, `ca` (PEM file; implies tls=verify).
 *
 * @throws E_DATABASE_URL naming the part that is wrong; E_FILE_MISSING and kin for the files it names.
 */
export async function parseDatabaseUrl(text: string): Promise<DatabaseUrl> {
  if (text.startsWith('sqlite:')) {
    const path = text.slice('sqlite:'.length).replace(/^\/\/(?=\/)/, '');
    if (path === '' || path.startsWith('//') || path.includes('\0')) {
      throw bad(
        'sqlite:',
        'The SQLite address names no file.',
        path === '' ? 'an empty path' : 'a host name',
      );
    }
    return { dialect: 'sqlite', path, label: `sqlite:${path}` };
  }
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw bad('the database address', 'The database address is not a URL.');
  }
  const scheme = url.protocol.slice(0, -1);
  if (scheme !== 'postgres' && scheme !== 'postgresql' && scheme !== 'mariadb' && scheme !== 'mysql') {
    throw bad(
      'the database address',
      'The database address names no database that Pilotage knows.',
      `${scheme}:`,
    );
  }
  const dialect = scheme.startsWith('postgres') ? 'postgres' : 'mariadb';
  const label = `${dialect}://${url.host}${url.pathname}`;
  for (const name of url.searchParams.keys()) {
    if (!PARAMETERS.has(name)) throw bad(label, `The database address has an unknown option.`, name);
  }
  const database = decode(url.pathname.slice(1), label);
  if (database === '' || database.includes('/')) throw bad(label, 'The database address names no database.');
  const user = decode(url.username, label);
  if (user === '') throw bad(label, 'The database address names no user.');
  const socket = url.searchParams.get('socket') ?? undefined;
  if (url.hostname === '' && socket === undefined) throw bad(label, 'The database address names no host.');
  const password = await passwordOf(url, label);
  const tls = await tlsOf(url, label);
  const host = decode(url.hostname, label).replace(/^\[(.*)\]$/, '$1');
  // mysql2 checks a server reached by its IP address against the name "localhost", whatever the certificate says.
  if (dialect === 'mariadb' && tls !== undefined && isIP(host) !== 0) {
    throw bad(
      label,
      'A MariaDB server can be verified by TLS under its host name only, not an IP address.',
      host,
    );
  }
  return {
    dialect,
    host,
    port: url.port === '' ? (dialect === 'postgres' ? 5432 : 3306) : Number(url.port),
    ...(socket === undefined ? {} : { socket }),
    user,
    ...(password === undefined ? {} : { password }),
    database,
    ...(tls === undefined ? {} : { tls }),
    label,
  };
}

function decode(part: string, label: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw bad(label, 'The database address has a broken percent-escape.');
  }
}

async function passwordOf(url: URL, label: string): Promise<string | undefined> {
  const file = url.searchParams.get('passwordFile');
  if (file !== null) return (await readTextBounded(file, 4096)).replace(/\r?\n$/, '');
  return url.password === '' ? undefined : decode(url.password, label);
}

async function tlsOf(url: URL, label: string): Promise<{ ca?: string } | undefined> {
  const mode = url.searchParams.get('tls');
  const file = url.searchParams.get('ca');
  if (mode !== null && mode !== 'verify') throw bad(label, 'The option tls knows only "verify".', mode);
  if (file !== null) return { ca: await readTextBounded(file) };
  return mode === null ? undefined : {};
}
