import assert from 'node:assert/strict';
import { forEachDatabase } from '../../lab/databases.ts';

forEachDatabase((dialect, databaseTest) => {
  databaseTest('one at a time has a lock; another name is another lock', async ({ open }) => {
    const [one, other] = [await open(), await open()];
    const lock = await one.tryLock('work');
    assert.ok(lock);
    assert.equal(await other.tryLock('work'), null);
    assert.equal(await one.tryLock('work'), null);
    const second = await other.tryLock('rest');
    assert.ok(second);
    await lock.release();
    const next = await other.tryLock('work');
    assert.ok(next, `${dialect} frees what was released`);
    await next.release();
    await second.release();
  });
});
