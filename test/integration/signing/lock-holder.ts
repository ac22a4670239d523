// Takes the lock of the place it is given, says so, and keeps it until it is killed.
import { openPlace } from '../../lab/storages.ts';

const storage = await openPlace(process.argv[2]!);
const lock = await storage.tryLock();
process.stdout.write(lock ? 'held\n' : 'refused\n');
if (lock) setInterval(() => undefined, 60_000);
else await storage.close();
