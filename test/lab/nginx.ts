import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { request } from 'undici';
import { startDaemon } from './daemon.ts';
import { freePort } from './ports.ts';
import { findProgram } from './programs.ts';
import { temporaryDirectory, type Ending } from './temporary.ts';

const shipped = fileURLToPath(new URL('../../deploy/nginx/pilotage-store.conf', import.meta.url));

/** The distribution's nginx with the configuration that we ship, over an exported tree; gone at the end of the test. */
export async function startNginx(t: Ending, root: string): Promise<string> {
  const nginx = await findProgram('nginx', 'nginx-light');
  const directory = await temporaryDirectory(t, 'nginx');
  const port = await freePort();
  const site = (await readFile(shipped, 'utf8'))
    .replace('listen 8090;', `listen 127.0.0.1:${port};`)
    .replace('root /srv/pilotage-store;', `root ${root};`);
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    name => `${name}_temp_path ${directory}/${name};`,
  );
  const configuration = join(directory, 'nginx.conf');
  await writeFile(
    configuration,
    `${process.getuid?.() === 0 ? 'user root;' : ''}
     daemon off; worker_processes 1; pid ${directory}/pid; error_log stderr;
     events { worker_connections 64; }
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
