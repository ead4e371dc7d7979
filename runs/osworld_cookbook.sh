#!/usr/bin/env bash
# The order of slime's OSWorld cookbook, with its settings: SFT, the data flywheel, GSPO with the shaped reward, evaluation.
#
#   TASKS=path/to/osworld/examples SFT_DATA=osworld_replay_train.jsonl CHECKPOINT=models/Qwen3-VL-4B-Instruct runs/osworld_cookbook.sh
#
# TASKS is a folder of OSWorld's task files, SFT_DATA rows of the cookbook's SFT or replay data (or of `stepladder convert-union`).
# Every step goes on where it was interrupted. `make osworld` installs the applications of the tasks.
#
# As in the cookbook: rates, batch sizes, clipping, sampling, turns, the weights of the reward. Otherwise: the rate of SFT falls in a
# line and not along a cosine; replies keep the log-probabilities that they were sampled with, and nothing is tokenized again; a
# success from the pool takes the place of a failure, where the cookbook appends it and so changes the size of the group; the
# shaped reward is not clamped, or a clean success would gain nothing by it (docs/rewards.md has more).
#
# This version computes on the processor, with weights in float32, and each of the RANKS has the whole model: 4B with AdamW's states
# take some 70 GB. LORA=32 trains adapters of that rank instead, some 20 GB.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${TASKS:?a folder of OSWorld task files}" "${SFT_DATA:?rows of the cookbook, JSONL}" "${CHECKPOINT:?a Qwen3-VL checkpoint}"
output=${OUTPUT:-runs/osworld-cookbook}
epochs=${EPOCHS:-5} ranks=${RANKS:-1}
bin=${BIN:-.venv/bin} tasks=osworld:$TASKS lora=${LORA:-0}

# 1. SFT: vision frozen, 5 epochs of batches of 32, rate 5e-6 to 5e-7, warm-up 0.1, weight decay 0.1.
if [ ! -d "$output/data" ]; then
  "$bin/stepladder" convert "$SFT_DATA" "$output/data.part" --from cookbook --agent qwen3_vl --set 'agent_options={"thought": "thinking"}'
  mv "$output/data.part" "$output/data"
fi
rows=$("$bin/python" - "$output/data/trajectories.jsonl" <<'COUNT'
import sys
from pathlib import Path

from stepladder.store import TrajectoryStore

with TrajectoryStore(Path(sys.argv[1])) as store:
    print(sum(len(trajectory.steps) for trajectory in store))
COUNT
)
steps=$((rows * epochs / 32 + 1))
"$bin/stepladder" sft --set demonstrations="$output/data" --set checkpoint="$CHECKPOINT" --set ranks="$ranks" --output "$output/sft" \
  --set agent.system=full --set agent.thought=full --set agent.grid=1 --set agent.screenshots=3 --set questions=0 --set screens=1 \
  --set copying.steps=0 --set perception.steps=0 --set cloning.steps=0 \
  --set cloning_frozen.steps="$steps" --set cloning_frozen.batch=32 --set cloning_frozen.visits=0 --set cloning_frozen.copies=0 \
  --set cloning_frozen.accumulate=$((32 / ranks)) --set cloning_frozen.pointing=0 --set cloning_frozen.lr=5e-6 \
  --set cloning_frozen.warmup=$((steps / 10 + 1)) --set cloning_frozen.decay=0.9 --set cloning_frozen.floor=0.1 \
  --set optimizer.kind=adamw --set optimizer.beta2=0.98 --set optimizer.weight_decay=0.1 --set lora.rank="$lora"

# 2. The data flywheel: it plays the tasks, keeps what their checks call a success, and learns from that at the same rate.
"$bin/stepladder" flywheel --checkpoint "$output/sft/checkpoint" --tasks "$tasks" --output "$output/flywheel" \
  --set demonstrations="$output/data" --set ranks="$ranks" --set turns=1 --set starts=1 --set attempts=4 --set validation=1 \
  --set environments=4 --set temperature=0.8 --set max_tokens=400 --set pool.spares=1 \
  --set train.questions=0 --set train.screens=1 --set train.cloning.steps=0 --set train.cloning_frozen.steps="${TURN_STEPS:-60}" \
  --set train.cloning_frozen.batch=32 --set train.cloning_frozen.visits=0 --set train.cloning_frozen.copies=0 \
  --set train.cloning_frozen.accumulate=$((32 / ranks)) --set train.cloning_frozen.pointing=0 --set train.cloning_frozen.lr=5e-6 \
  --set train.optimizer.kind=adamw --set train.optimizer.beta2=0.98 --set train.optimizer.weight_decay=0.1 \
  --set train.lora.rank="$lora"

# 3. GSPO with the shaped reward: clipping 3.5e-4, two episodes of each of eight tasks, eight steps, rate 5e-7, T 0.8, entropy 1e-4.
"$bin/stepladder" rl --algo gspo --checkpoint "$output/flywheel/checkpoint" --tasks "$tasks" --output "$output/gspo" \
  --set ranks="$ranks" --set updates="${UPDATES:-8}" --set groups=8 --set group_size=2 --set rounds=1 --set environments=4 \
  --set max_steps=8 --set max_tokens=400 --set temperature=0.8 --set replay=10 --set validation=0 --set export=last \
  --set algo.reward=shaped --set 'rewards={"shaped": 1.0}' --set 'reward_options={"shaped": {"preset": "grpo_config", "alpha": 0.3}}' \
  --set algo.clip_low=3.5e-4 --set algo.clip_high=3.5e-4 --set algo.entropy=1e-4 --set algo.updates=8 \
  --set optimizer.kind=adamw --set optimizer.lr=5e-7 --set optimizer.beta2=0.98 --set optimizer.max_grad_norm=0.5 \
  --set warmup=0 --set decay=0 --set train=model.language_model,lm_head --set lora.rank="$lora"

# 4. Evaluation: SFT and the end, every task once, and whether the one is better.
for name in sft gspo; do
  "$bin/stepladder" eval "$output/$name/checkpoint" --tasks "$tasks" --episodes 1 --max-steps 15 --set baselines= --output "$output/evaluate/$name"
done
"$bin/stepladder" compare "$output/evaluate/sft" "$output/evaluate/gspo"
