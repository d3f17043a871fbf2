DROP TABLE intents_1;
