/* Several limits of one call, as rust/core/src/limit/reserve.rs takes them. Claims: counts never exceed their maxima;
 * at rest they are what was kept (and what the dead left behind); nobody is refused for lack of room that is there
 * when all is quiet.
 *
 * Two callers take both limits, one takes the first only. READFIRST: look at all limits before taking any.
 * RETRY=1: a caller without room waits once for the callers that overlapped it, and tries again.
 * Mutants: RETRY=0, or no READFIRST: somebody is refused because of units that were on their way back.
 * CRASH: callers may die between their writes.
 */
int count[2];
byte max[2], kept[2], pin[3], sequence[3], refused_by[3], finished;
bool dead[3];

inline take(limit) {
  atomic { if :: count[limit] < max[limit] -> count[limit]++; got = true :: else -> got = false fi }
}

proctype Caller(byte me; bool both) {
  bool got;
  byte tries, other, seen[3];
  pin[me] = 1; sequence[me]++;

again:
#ifdef READFIRST
  if :: count[0] >= max[0] -> refused_by[me] = 1; goto refused :: else fi;
  if :: both && count[1] >= max[1] -> refused_by[me] = 2; goto refused :: else fi;
#endif
  take(0);
  if :: !got -> refused_by[me] = 1; goto refused :: else fi;
#ifdef CRASH
  if :: goto die :: skip fi;
#endif
  if
  :: both ->
     take(1);
     if
     :: !got ->
#ifdef CRASH
        if :: goto die :: skip fi;
#endif
        atomic { count[0]-- };
        refused_by[me] = 2; goto refused
     :: else
     fi;
     atomic { kept[0]++; kept[1]++ }
  :: else -> kept[0]++
  fi;
  refused_by[me] = 0;
  assert(kept[0] <= max[0] && kept[1] <= max[1]);
  goto out;

refused:
  if
  :: tries < RETRY ->
     tries++;
     atomic {
       other = 0;
       do
       :: other < 3 -> seen[other] = (pin[other] && other != me -> sequence[other] : 0); other++
       :: else -> break
       od;
       other = 0
     };
     pin[me] = 0;
     do
     :: other < 3 -> (seen[other] == 0 || dead[other] || !pin[other] || sequence[other] != seen[other]); other++
     :: else -> break
     od;
     other = 0;
     atomic { pin[me] = 1; sequence[me]++ };
     goto again
  :: else
  fi;
out:
  atomic { pin[me] = 0; finished++ };
  goto end;
die:
  atomic { dead[me] = true; refused_by[me] = 0; finished++ };
end: skip
}

init {
  byte i;
  atomic { max[0] = M0; max[1] = M1; run Caller(0, true); run Caller(1, false); run Caller(2, true) };
  (finished == 3);
  do
  :: i < 3 ->
     assert(!(refused_by[i] == 1 && count[0] < max[0]) && !(refused_by[i] == 2 && count[1] < max[1]));
     i++
  :: else -> break
  od;
  assert(count[0] <= max[0] && count[1] <= max[1] && count[0] >= kept[0] && count[1] >= kept[1])
}
