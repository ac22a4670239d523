import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { request } from 'undici';
import { startDaemon } from '../../../test/lab/daemon.ts';
import { freePort } from '../../../test/lab/ports.ts';
import { findProgram } from '../../../test/lab/programs.ts';
import { startSquid } from '../../../test/lab/squid.ts';
import type { Ending } from '../../../test/lab/temporary.ts';
import { startProgram } from '../../program.ts';
import { LogLines } from './log-lines.ts';

export const families = ['ours', 'squid', 'nginx'] as const;
export type Family = (typeof families)[number];

/** A cache that runs, in front of the origin. */
export interface CacheProcess {
  url: string;
  /** A forward proxy is asked for the origin's whole URL. */
  forward: boolean;
  /** Of the process above all others of it. */
  pid: number;
  log: LogLines;
  /** Lines that it may keep back without an end, because its buffer is not full. */
  unwrittenLines: number;
}

export interface ServerPlace {
  /** Where it may put files. */
  directory: string;
  /** Base URL. */
  origin: string;
  processes: number;
}

const MEMORY_BYTES = 512 << 20;
/** Nothing that is measured from disk goes into so little memory. */
const TOO_LITTLE_BYTES = 1024;
const LOG_BUFFER_BYTES = 64 << 10;

/** Ours, as it comes; with `memory: false` every body is read from the disk tier. */
export async function startOurs(t: Ending, place: ServerPlace & { memory: boolean }): Promise<CacheProcess> {
  await mkdir(place.directory, { recursive: true });
  const accessLog = join(place.directory, 'access.log');
  const program = await startProgram({
    name: 'cache',
    args: [
      'cache',
      'serve',
      '--listen=127.0.0.1:0',
      `--upstream=${place.origin}`,
      `--dir=${join(place.directory, 'kept')}`,
      `--processes=${place.processes}`,
      `--memory-bytes=${place.memory ? MEMORY_BYTES : TOO_LITTLE_BYTES}`,
      `--access-log=${accessLog}`,
    ],
    logFile: join(place.directory, 'cache.log'),
  });
  t.after(() => program.stop());
  const log = new LogLines(accessLog);
  return { url: program.ready.url!, forward: false, pid: program.pid, log, unwrittenLines: 0 };
}

/**
 * Squid in its best case: everything in memory, whatever the size, no disk, an access list of one word, its log buffered.
 * As a forward proxy, in which it is a little faster than as a reverse one. Several workers have a memory each: one that
 * they share costs as much, and now and then they miss what is in it.
 */
export async function startSquidCache(t: Ending, place: ServerPlace): Promise<CacheProcess> {
  const squid = await startSquid(
    t,
    ({ port, directory }) => `
      http_port 127.0.0.1:${port}
      http_access allow all
      ${place.processes > 1 ? `workers ${place.processes}\nmemory_cache_shared off` : ''}
      cache_mem ${MEMORY_BYTES >> 20} MB
      maximum_object_size 1 GB
      maximum_object_size_in_memory 64 MB
      access_log stdio:${directory}/access.log
      buffered_logs on
    `,
  );
  // Nothing makes Squid write out what is in its buffer before that is full.
  const unwrittenLines = place.processes * Math.ceil(LOG_BUFFER_BYTES / 100);
  const log = new LogLines(join(squid.directory, 'access.log'));
  return { url: squid.url, forward: true, pid: squid.pid, log, unwrittenLines };
}

/** nginx in its best case: proxy_cache sent by sendfile from files that stay open. */
export async function startNginxCache(t: Ending, place: ServerPlace): Promise<CacheProcess> {
  const { directory } = place;
  await mkdir(directory, { recursive: true });
  const port = await freePort();
  const file = join(directory, 'nginx.conf');
  const accessLog = join(directory, 'access.log');
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    name => `${name}_temp_path ${directory}/${name};`,
  );
  await writeFile(
    file,
    `${process.getuid?.() === 0 ? 'user root;' : ''}
    daemon off; worker_processes ${place.processes}; pid ${directory}/pid; error_log stderr;
    events { worker_connections 1024; }
    http {
      ${temporary.join('\n')}
      access_log ${accessLog} combined buffer=${LOG_BUFFER_BYTES} flush=1s;
      sendfile on; tcp_nopush on; tcp_nodelay on;
      keepalive_timeout 1h; keepalive_requests 1000000000;
      open_file_cache max=1000 inactive=1h; open_file_cache_valid 1h; open_file_cache_min_uses 1;
      proxy_cache_path ${directory}/kept levels=1:2 keys_zone=kept:8m max_size=1g inactive=1h use_temp_path=off;
      server {
        listen 127.0.0.1:${port} reuseport;
        location / {
          proxy_pass ${place.origin};
          proxy_http_version 1.1;
          proxy_set_header Connection "";
          proxy_cache kept;
          add_header X-Cache $upstream_cache_status;
        }
      }
    }`,
  );
  const daemon = await startDaemon({
    name: 'nginx',
    command: await findProgram('nginx', 'nginx-light'),
    args: ['-e', 'stderr', '-c', file],
    ready: async () => {
      const { statusCode, body } = await request(`http://127.0.0.1:${port}/`, { reset: true });
      await body.dump();
      return statusCode > 0;
    },
  });
  t.after(() => daemon.stop());
  const log = new LogLines(accessLog);
  return { url: `http://127.0.0.1:${port}`, forward: false, pid: daemon.pid, log, unwrittenLines: 0 };
}
