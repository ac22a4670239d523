import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { request } from 'undici';
import { startDaemon } from './daemon.ts';
import { freePort } from './ports.ts';
import { findProgram } from './programs.ts';
import { temporaryDirectory, type Ending } from './temporary.ts';

const shipped = (name: string) =>
  readFile(fileURLToPath(new URL(`../../deploy/nginx/${name}`, import.meta.url)), 'utf8');

/** The distribution's nginx with the configuration that we ship, over an exported tree; gone at the end of the test. */
export async function startNginx(t: Ending, root: string): Promise<string> {
  const port = await freePort();
  const site = (await shipped('pilotage-store.conf'))
    .replace('listen 8090;', `listen 127.0.0.1:${port};`)
    .replace('root /srv/pilotage-store;', `root ${root};`);
  return startWith(t, port, await temporaryDirectory(t, 'nginx'), site);
}

/** The same as a cache in front of a store, for 127.0.0.1. `accessLog` is a file. */
export async function startNginxCache(t: Ending, store: string): Promise<{ url: string; accessLog: string }> {
  const port = await freePort();
  const directory = await temporaryDirectory(t, 'nginx');
  const accessLog = join(directory, 'pilotage-cache.log');
  const site = (await shipped('pilotage-cache.conf'))
    .replace('listen 8091;', `listen 127.0.0.1:${port};`)
    .replaceAll('store.example.org:8090', new URL(store).host)
    .replace('allow 10.0.0.0/8;', 'allow 127.0.0.1;')
    .replace('/var/cache/nginx/pilotage', join(directory, 'kept'))
    .replace('/var/log/nginx/pilotage-cache.log', accessLog);
  return { url: await startWith(t, port, directory, site), accessLog };
}

async function startWith(t: Ending, port: number, directory: string, site: string): Promise<string> {
  const nginx = await findProgram('nginx', 'nginx-light');
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    name => `${name}_temp_path ${directory}/${name};`,
  );
  const configuration = join(directory, 'nginx.conf');
  await writeFile(
    configuration,
    `${process.getuid?.() === 0 ? 'user root;' : ''}
     daemon off; worker_processes 1; pid ${directory}/pid; error_log stderr;
     events { worker_connections 1024; }
     http { access_log off; ${temporary.join(' ')}\n${site} }`,
  );
  const daemon = await startDaemon({
    name: 'nginx',
    command: nginx,
    args: ['-e', 'stderr', '-c', configuration],
    ready: async () => (await fetchStatus(port)) > 0,
  });
  t.after(() => daemon.stop());
  return `http://127.0.0.1:${port}`;
}

async function fetchStatus(port: number): Promise<number> {
  const { statusCode, body } = await request(`http://127.0.0.1:${port}/`, { reset: true });
  await body.dump();
  return statusCode;
}
