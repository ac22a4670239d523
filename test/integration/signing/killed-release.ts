// Runs one command on the repository it is given, and kills itself with SIGKILL before the step of the given number.
import { systemClock } from '../../../lib/clock.ts';
import { openKeyDirectory } from '../../../signing/keys/key-directory.ts';
import { passphraseSource } from '../../../signing/keys/passphrase.ts';
import { publish } from '../../../signing/release/repository/publish.ts';
import { openStorage } from '../../../signing/release/storage/open-storage.ts';

const [place, directory, passphraseFile, stop] = process.argv.slice(2) as [string, string, string, string];
let seen = 0;
await publish({
  storage: await openStorage(place),
  keys: openKeyDirectory({
    directory,
    clock: systemClock,
    passphrases: passphraseSource({ file: passphraseFile }),
    scryptN: 1024,
  }),
  clock: systemClock,
  actor: 'killed',
  onStep: () => {
    if ((seen += 1) === Number(stop)) process.kill(process.pid, 'SIGKILL');
  },
});
