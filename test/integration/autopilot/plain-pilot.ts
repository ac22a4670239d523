import { readFile } from 'node:fs/promises';
import { createApiClient } from '../../../lib/api-client.ts';
import { Bootstrap } from '../../../lib/protocol/release.ts';
import { newKey } from '../../../signing/x509/authority.ts';
import { acquireRequest, completion, enrolRequest, pemOf } from '../server/tls-site.ts';

/**
 * A pilot that does what a real server asks of one and runs nothing: it enrols with its one-time secret, takes jobs until
 * there are none, completes each and leaves. Its working directory is the sandbox.
 */
const bootstrap = Bootstrap.parse(JSON.parse(await readFile('bootstrap.json', 'utf8')));
const servers = bootstrap.servers;
const stranger = createApiClient({ servers, tls: { ca: bootstrap.serverCa } });
const key = newKey();
const { certificateChain } = await stranger.call('enrol', { body: enrolRequest(bootstrap, key) });
await stranger.close();
const pilot = createApiClient({
  servers,
  tls: { ca: bootstrap.serverCa, cert: certificateChain, key: pemOf(key) },
});
let jobsDone = 0;
for (;;) {
  const { lease } = await pilot.call('acquire', { body: acquireRequest(1) });
  if (lease === null) break;
  await pilot.call('complete', { params: { attemptId: lease.attemptId }, body: completion(lease) });
  jobsDone += 1;
}
await pilot.call('leavePilot', { body: { reason: 'no more jobs', jobsDone } });
await pilot.close();
process.stdout.write('PILOTAGE-RESULT {"code":"ok","exit":0}\n');
